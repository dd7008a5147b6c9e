"""A run that can never be trained says why, and names a command that leads on; a run that can go on says nothing of the kind."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.config import load_config
from mlx_selfdebug.reporting.records import read_records
from mlx_selfdebug.reporting.report import report_data, report_html, report_markdown
from mlx_selfdebug.store import Key, Run
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.training.dead_end import DeadEnd, dead_end
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

from ..support.values import FAILED, small_config

PASSED_DRAFT = make_attempt()
FAILED_DRAFT = make_attempt(sample=1, verdict=FAILED)
CUT_OFF = make_attempt(sample=2, verdict=FAILED, finish="length")
SEARCHED = make_attempt(sample=2, round=1, verdict=FAILED, finish="exhausted", kind="edits", parent=CUT_OFF.id)
PAIR = Pair("repair", "python", "test/square", "Fix it.", "def f(): return 1\n```", ("a", "b"))


def collected(path: Path, *attempts: Attempt, pairs: tuple[Pair, ...] = (), done: bool = True, **overrides: Any) -> Run:
    run = Run(path, small_config(**overrides))
    for attempt in attempts:
        run.add_attempt(attempt)
    run.remember(Key.TRAINING_TASKS, ["test/square"])
    run.replace_pairs(pairs)
    run.add_stage_time("collect", 1.0, 1, done=done)
    return run


@pytest.mark.parametrize(
    ("attempts", "overrides", "reason", "option"),
    [
        ((PASSED_DRAFT,), {}, "every draft passed", "--collect-samples 16"),
        ((PASSED_DRAFT, CUT_OFF, SEARCHED), {}, "cut off at collect.max_tokens = 320", "--collect-max-tokens 640"),
        ((FAILED_DRAFT,), {"train__targets": "own"}, "no draft passed", "--train-targets reference"),
        ((FAILED_DRAFT,), {}, "no task has both a failed program and a right one", "--collect-samples 16"),
        ((PASSED_DRAFT, FAILED_DRAFT), {"train__max_pairs": 0}, "train.max_pairs is 0", "--train-max-pairs 200"),
    ],
)
def test_a_run_without_pairs_says_what_kept_them_away_and_what_to_change(
    attempts: tuple[Attempt, ...], overrides: dict[str, Any], reason: str, option: str, tmp_path: Path
) -> None:
    with collected(tmp_path / "run", *attempts, **overrides) as run:
        end = dead_end(run)
    assert end is not None
    assert end.what.startswith("has no pairs to train on: ")
    assert reason in end.what
    assert option in end.instead


def test_pairs_that_are_all_too_long_are_trained_on_in_a_branch_with_room_for_them(tmp_path: Path) -> None:
    with collected(tmp_path / "run", pairs=(PAIR,)) as run:
        assert dead_end(run) is None
        run.remember(Key.PAIRS_LEFT_OUT, 1)
        end = dead_end(run)
    assert end is not None
    assert "none of its 1 fits train.max_length = 1024 tokens" in end.what
    assert "--train-max-length 2048 && mlx-selfdebug run" in end.instead


def test_a_run_whose_tasks_are_all_left_out_is_to_take_others_or_to_keep_them(tmp_path: Path) -> None:
    with collected(tmp_path / "run", done=False) as run:
        assert dead_end(run) is None
        run.remember(Key.AUDIT, {"left_out": {"test/square": "its checks caught 0 of 9 mutants"}})
        end = dead_end(run)
    assert end is not None
    assert "every training task is left out" in end.what
    assert "--collect-weak-share 0" in end.instead


@pytest.mark.parametrize(
    ("pairs", "done", "overrides"),
    [((), False, {}), ((PAIR,), True, {}), ((), True, {"train__reward_steps": 5})],
    ids=["still to collect", "with pairs", "with rewards"],
)
def test_a_run_that_can_go_on_is_at_no_dead_end(
    pairs: tuple[Pair, ...], done: bool, overrides: dict[str, Any], tmp_path: Path
) -> None:
    with collected(tmp_path / "run", FAILED_DRAFT, pairs=pairs, done=done, **overrides) as run:
        assert dead_end(run) is None


def test_a_run_that_was_given_an_adapter_is_at_no_dead_end(tmp_path: Path) -> None:
    with collected(tmp_path / "run", FAILED_DRAFT) as run:
        run.adapter_path.mkdir()
        assert dead_end(run) is None


def test_the_command_keeps_the_settings_of_the_run_and_names_a_folder_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "my run-2").mkdir()
    with collected(tmp_path / "my run", PASSED_DRAFT, seed=7) as run:
        end = dead_end(run)
        kept = run.config
    assert end is not None
    words = shlex.split(end.instead[end.instead.index("mlx-selfdebug") :])
    assert words[words.index("--run") + 1] == str(tmp_path / "my run-3")
    file = words[words.index("--config") + 1]
    assert load_config(file=file, environment={}) == kept


def test_the_report_says_what_to_change_and_not_to_call_the_same_command_again(tmp_path: Path) -> None:
    with collected(tmp_path / "run", PASSED_DRAFT) as run:
        records = read_records(run)
        same = f"mlx-selfdebug run --run {run.path}"
    assert isinstance(records.dead_end, DeadEnd)
    for text in (report_html(records), report_markdown(records)):
        assert "This run has no pairs to train on: every draft passed" in text
        assert f"{same}-2 " in text
        assert f"{same}<" not in text
        assert f"{same}\n" not in text
        assert "Continue with" not in text
    assert report_data(records)["dead_end"]["what"] == records.dead_end.what
