"""``estimate`` says what each stage takes before the whole model is loaded, and exits with 3 where a budget is too small."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE
from mlx_selfdebug.stages.estimate import _count_attempts
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_task
from mlx_selfdebug.values.pair import Pair

from ..support.values import small_config
from .test_cli import run_cli

pytestmark = pytest.mark.slow

STAGES = ["collect", "train", "evaluate"]


@pytest.fixture(autouse=True)
def own_probes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))


def estimate(model: Path, run: Path, *args: str) -> tuple[int, list[dict[str, Any]], str]:
    options = ("--model", str(model), "--preset", "cpu", "--run", str(run), "--json", "--quiet")
    result = run_cli("estimate", *options, *args)
    return result.returncode, json.loads(result.stdout), result.stderr


def test_every_stage_has_its_bytes_budget_and_seconds(tiny_folder: Path, tmp_path: Path) -> None:
    code, stages, text = estimate(tiny_folder, tmp_path / "none")
    assert code == 0
    assert [stage["stage"] for stage in stages] == STAGES
    assert all(stage["fits"] and stage["wall_s"] > 0 for stage in stages)
    assert [stage["budget_bytes"] for stage in stages] == [6e9, 10e9, 6e9]
    assert re.findall(r"^(\w+) +[\d.]+ +[\d.]+ +fits", text, re.MULTILINE) == STAGES
    assert not (tmp_path / "none").exists()


def test_training_by_rewards_is_estimated_where_it_is_asked_for(tiny_folder: Path, tmp_path: Path) -> None:
    more = ("--train-reward-steps", "5", "--collect-limit", "4")
    code, stages, _ = estimate(tiny_folder, tmp_path / "none", *more)
    assert code == 0
    assert [stage["stage"] for stage in stages] == ["collect", "train", "rewards", "evaluate"]
    rewards = stages[2]
    assert rewards["fits"]
    assert rewards["wall_s"] > 0
    assert rewards["budget_bytes"] == 10e9


def test_what_does_not_fit_exits_with_3_and_what_it_says_would_fit_fits(tiny_folder: Path, tmp_path: Path) -> None:
    code, stages, text = estimate(tiny_folder, tmp_path / "none", "--budget-training-gb", "0.1")
    assert code == 3
    assert [stage["fits"] for stage in stages] == [True, False, True]
    (said,) = re.findall(r"^train: --budget-training-gb ([\d.]+)", text, re.MULTILINE)
    assert estimate(tiny_folder, tmp_path / "none", "--budget-training-gb", said)[0] == 0


@pytest.mark.parametrize(
    "more",
    [
        {"eval__arms": "blind,facts"},
        {"eval__arms": "blind,edits+forks+facts"},
        {"eval__bugs": "operators"},
        {"eval__bugs": "humanevalfix"},
        {"eval__hard_drafts": 8},
    ],
)
def test_more_arms_bugs_and_drafts_to_find_hard_tasks_are_more_work(more: dict[str, Any]) -> None:
    tasks = [make_task(), make_task("double", "x + x")]
    plain = {"eval__arms": "blind", "eval__bugs": "none", "eval__hard_drafts": 0}
    assert sum(_count_attempts(small_config(**{**plain, **more}).eval, tasks)) > sum(
        _count_attempts(small_config(**plain).eval, tasks)
    )


def test_a_search_for_edits_alone_decodes_nothing_and_a_limit_bounds_the_bugs() -> None:
    tasks = [make_task(), make_task("double", "x + x")]

    def repairs(**settings: Any) -> int:
        return _count_attempts(small_config(**settings).eval, tasks)[1]

    assert repairs(eval__arms="edits") == 0
    assert repairs(eval__arms="blind", eval__bugs_limit=1) < repairs(eval__arms="blind", eval__bugs_limit=2)


def test_a_run_with_pairs_is_estimated_on_them(tiny_folder: Path, tmp_path: Path) -> None:
    config = small_config(model=str(tiny_folder), preset="cpu")
    with Run(tmp_path / "run", config) as run:
        run.replace_pairs([Pair("direct", "python", "t", "Write it.", "def f(): pass\n```", ("a",))])
    _, long, _ = estimate(tiny_folder, tmp_path / "none")
    _, short, _ = estimate(tiny_folder, tmp_path / "run")
    assert short[1]["peak_bytes"] < long[1]["peak_bytes"]
    assert short[1]["wall_s"] < long[1]["wall_s"]
