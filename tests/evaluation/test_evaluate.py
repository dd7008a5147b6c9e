from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.evaluation.evaluate import count_checks, evaluate
from mlx_selfdebug.evaluation.result import Score, score_arm
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.pair import Pair
from mlx_selfdebug.training.train import train

from ..conftest import FAILED, make_attempt, make_task, small_config

PASSED = Verdict("passed", n_passed=3, n_checks=3)
TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]


def test_a_problem_is_solved_by_all_its_checks_and_checks_are_counted_one_by_one() -> None:
    attempts = [
        make_attempt(task_id="a", verdict=PASSED),
        make_attempt(task_id="b", verdict=Verdict("failed", n_passed=2, n_checks=3)),
        make_attempt(task_id="c", verdict=Verdict("load_error", n_passed=0, n_checks=0)),
    ]
    score = score_arm(attempts, {"a": 3, "b": 3, "c": 5}).first_pass
    assert score == Score(problems=(1, 3), checks=(5, 11))


def test_the_last_attempt_is_the_answer_after_repair_for_better_or_worse() -> None:
    attempts = [
        make_attempt(task_id="a", verdict=FAILED),
        make_attempt(task_id="a", verdict=PASSED, round=1),
        make_attempt(task_id="b", verdict=PASSED),
        make_attempt(task_id="b", verdict=FAILED, round=1),
        make_attempt(task_id="c", verdict=PASSED),
    ]
    result = score_arm(attempts, {"a": 3, "b": 3, "c": 3})
    assert result.first_pass.problems == (2, 3)
    assert result.after_repair.problems == (2, 3)
    assert result.after_repair.checks == (7, 9)


def test_a_reference_that_fails_its_own_checks_is_named() -> None:
    broken = replace(TASKS[1], reference="def double(x):\n    return 0\n")
    with TestRunner(workers=2) as runner, pytest.raises(TaskError, match="test/double: failed"):
        count_checks([TASKS[0], broken], runner)


def open_run(path: Path) -> Run:
    run = Run(path, small_config(eval__max_tokens=8, train__epochs=1))
    run.replace_pairs([Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))])
    return run


def test_base_and_adapter_meet_the_same_tasks_and_the_model_is_the_base_afterwards(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        result = evaluate(run, tiny, adapter, TASKS)
        arms = {a.arm for a in run.attempts()}
        again = evaluate(run, tiny, adapter, TASKS)
    assert arms == {"base/facts", "adapter/facts"}
    assert result.base.first_pass.problems[1] == result.adapter.after_repair.problems[1] == 3
    assert result.base.first_pass.checks[1] == 9
    assert again == result
    assert not any("lora" in name for name, _ in tiny.network.named_modules())


def test_the_result_prints_both_units_and_what_is_not_shown(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        text = str(evaluate(run, tiny, train(run, tiny), TASKS))
    assert "problems solved" in text
    assert "checks passed" in text
    assert "Not shown: whether this is learning" in text


def test_tasks_that_were_trained_on_are_refused(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        run.require("collect.tasks", ["test/square"], "set of training tasks")
        with pytest.raises(TaskError, match=r"1 of the evaluation tasks were trained on, test/square among them"):
            evaluate(run, tiny, adapter, TASKS)
