"""Rollouts show the facts that the settings ask for, as pairs do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.progress import Spent
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.stages.rewards import rollout_decoding
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task
from mlx_selfdebug.training.reward_prompts import RewardPrompt
from mlx_selfdebug.training.rollouts import Rollouts
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.verdict import Failure, Verdict

from ..support.values import small_config

TASKS = [make_task("f", "x * x"), make_task("g", "x ** 3")]


def failed(name: str, expected: str) -> Attempt:
    verdict = Verdict("failed", (Failure("check", f"{name}(3)", expected, got="0"),), 0, 1)
    return make_attempt(task_id=f"test/{name}", code=f"def {name}(x):\n    return 0\n", public=verdict, verdict=verdict)


PARENTS = [failed("f", "111"), failed("g", "222")]


def facts_shown(path: Path, facts: str, parents: list[Attempt]) -> list[str]:
    """Return what the repair prompts of one step say after the failed code, for one prompt per parent."""
    model: Any = ScriptedModel(lambda prompt, seed: "I do not know.")
    with (
        Run(path, small_config(train__facts=facts, train__reward_group_size=2)) as run,
        TestRunner(1, Limits()) as runner,
    ):
        prompts = [RewardPrompt("repair", task, parent) for task, parent in zip(TASKS, parents, strict=False)]
        groups = Rollouts(run, model, runner, rollout_decoding(run.config)).make(0, prompts, Spent())
    return [group.attempts[0].prompt.partition("was tested")[2] for group in groups]


@pytest.mark.parametrize(("facts", "shown"), [("own", ["111", "222"]), ("other", ["222", "111"])])
def test_a_repair_is_shown_its_own_facts_or_those_of_another_task(tmp_path: Path, facts: str, shown: list[str]) -> None:
    for text, expected in zip(facts_shown(tmp_path / "run", facts, PARENTS), shown, strict=True):
        assert f"Expected: {expected}\n" in text


def test_a_repair_is_shown_no_facts_where_none_are_wanted(tmp_path: Path) -> None:
    assert not any("Expected:" in text for text in facts_shown(tmp_path / "run", "none", PARENTS))


def test_the_only_task_of_a_step_has_no_facts_of_others_to_show(tmp_path: Path) -> None:
    assert "Expected:" not in facts_shown(tmp_path / "run", "other", PARENTS[:1])[0]
