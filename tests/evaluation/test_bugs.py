"""Bugs become tasks of their own, are stored before anything is made of them, and never come from what was trained on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import ConfigError, TaskError
from mlx_selfdebug.evaluation import bugs as module
from mlx_selfdebug.evaluation.bugs import EVALUATION, GATE, bugs_of, given_attempts, origin_id, require_bug_source
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt, make_task

from ..support.values import small_config
from ..tasks.sets.test_humaneval import RECORD

TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(2, Limits(wall_s=2, cpu_s=2)) as opened:
        yield opened


def test_a_bug_is_a_task_with_the_statement_and_checks_of_the_one_it_is_of(run: Run, runner: TestRunner) -> None:
    bugs = bugs_of(run, EVALUATION, "operators", TASKS, runner)
    assert [origin_id(bug) for bug in bugs] == [task.id for task in TASKS]
    for bug, task in zip(bugs, TASKS, strict=True):
        assert bug == replace(task, id=bug.id)


def test_its_failed_program_is_stored_as_an_attempt_that_took_no_tokens(run: Run, runner: TestRunner) -> None:
    bugs = bugs_of(run, EVALUATION, "operators", TASKS, runner)
    given = given_attempts(run, EVALUATION)
    assert list(given) == sorted(bug.id for bug in bugs)
    for attempt in given.values():
        assert (attempt.arm, attempt.kind, attempt.sample, attempt.round) == ("bugs/given", "given", 0, 0)
        assert attempt.n_completion_tokens == attempt.n_prompt_tokens == 0
        assert not attempt.public.passed
        assert not attempt.passed


def test_a_run_goes_on_with_the_bugs_that_it_has(run: Run, runner: TestRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rows = bugs_of(run, EVALUATION, "operators", TASKS, runner), run.attempts()
    monkeypatch.setattr(module, "find_bugs", lambda *_, **__: pytest.fail("drawn again"))
    assert bugs_of(run, EVALUATION, "operators", TASKS, runner) == first
    assert run.attempts() == rows


def test_a_draw_that_was_killed_before_it_was_stored_leaves_nothing_behind(run: Run, runner: TestRunner) -> None:
    run.add_attempt(make_attempt(arm="bugs/given", task_id="test/square#constant-9", kind="given"))
    bugs = bugs_of(run, EVALUATION, "operators", TASKS, runner)
    assert {attempt.task_id for attempt in run.attempts("bugs/given")} == {bug.id for bug in bugs}


def test_the_bugs_of_the_gate_are_kept_apart(run: Run, runner: TestRunner) -> None:
    bugs_of(run, EVALUATION, "operators", TASKS[:2], runner)
    bugs_of(run, GATE, "operators", TASKS[2:], runner)
    assert {origin_id_of(id_) for id_ in given_attempts(run, EVALUATION)} == {"test/square", "test/double"}
    assert {origin_id_of(id_) for id_ in given_attempts(run, GATE)} == {"test/cube"}


def origin_id_of(id_: str) -> str:
    return id_.rpartition("#")[0]


def test_a_limit_and_a_number_a_task_are_kept(tmp_path: Path, runner: TestRunner) -> None:
    task = make_task("f", "(x + 1) * 2 - 3 if x > 4 else -x")
    with Run(tmp_path / "many", small_config(eval__bugs_per_task=3)) as run:
        assert len(bugs_of(run, EVALUATION, "operators", [task], runner)) == 3
    with Run(tmp_path / "few", small_config(eval__bugs_limit=1)) as run:
        assert len(bugs_of(run, EVALUATION, "operators", TASKS, runner)) == 1


def test_no_bugs_are_taken_where_none_are_wanted(run: Run, runner: TestRunner) -> None:
    assert bugs_of(run, EVALUATION, "none", TASKS, runner) == []
    assert run.attempts() == []


def test_what_no_bug_can_be_put_into_is_left_out_and_said_once(
    run: Run, runner: TestRunner, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [replace(TASKS[0], domain="sql"), TASKS[1]]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            bugs = bugs_of(run, EVALUATION, "operators", tasks, runner)
    assert [origin_id(bug) for bug in bugs] == ["test/double"]
    [said] = caplog.messages
    assert said == "no bugs are put into 1 of the tasks (domain sql): bugs can be put into Python programs only"


@pytest.mark.parametrize("source", ["", "mutants", "humanevalfixed", "humanevalfix:", "none:x"])
def test_a_source_nobody_knows_is_refused_with_those_there_are(source: str) -> None:
    with pytest.raises(ConfigError, match=r"Known: operators, humanevalfix, humanevalfix:FILE, none"):
        require_bug_source(source)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(**changes: Any) -> str:
        (tmp_path / "pack.jsonl").write_text(json.dumps({**RECORD, **changes}) + "\n")
        return f"humanevalfix:{tmp_path / 'pack.jsonl'}"

    return write


def test_a_published_bug_is_given_with_the_tasks_own_statement(
    run: Run, runner: TestRunner, write: Callable[..., str]
) -> None:
    [bug] = bugs_of(run, EVALUATION, write(), TASKS, runner)
    [given] = given_attempts(run, EVALUATION).values()
    assert bug.id == given.task_id == "HumanEvalPack/7#humanevalfix"
    assert "This function is wrong" not in bug.statement
    assert bug.statement not in given.code
    assert "return x\n" in given.code


@pytest.mark.parametrize("trained", ["HumanEval/7", "HumanEvalPack/7", "HumanEvalFix/7"])
def test_published_bugs_of_a_problem_that_was_trained_on_are_refused(
    run: Run, runner: TestRunner, write: Callable[..., str], trained: str
) -> None:
    run.remember("collect.tasks", [trained])
    with pytest.raises(TaskError, match="1 of the tasks that bugs are taken from were trained on, HumanEvalPack/7"):
        bugs_of(run, EVALUATION, write(), TASKS, runner)


def test_published_bugs_that_cannot_be_had_are_an_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TaskError):
        require_bug_source(f"humanevalfix:{tmp_path / 'nowhere.jsonl'}")
