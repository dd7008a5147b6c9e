"""Bugs that a run puts into right programs, to learn to mend them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.progress import NullProgress
from mlx_selfdebug.repair.bugs import plain_source
from mlx_selfdebug.repair.planting import plant_bugs
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

from ..support.values import small_config

TASK = make_task()
OWN = make_attempt(code="def square(x):\n    y = x * x\n    return y + 0\n")


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(2, Limits(wall_s=1, cpu_s=1)) as opened:
        yield opened


def planted(folder: Path, runner: TestRunner, tasks: list[Task], attempts: list[Attempt], **settings: Any) -> Run:
    run = Run(folder, small_config(**settings))
    plant_bugs(run, tasks, attempts, runner, NullProgress())
    return run


def test_bugs_are_put_into_the_models_own_right_code_and_fail(tmp_path: Path, runner: TestRunner) -> None:
    with planted(tmp_path / "run", runner, [TASK], [OWN], collect__bugs=3) as run:
        bugs = run.attempts("bugs")
        assert len(bugs) == 3
        for bug in bugs:
            assert bug.parent == OWN.id
            assert not bug.public.passed
            assert bug.public.failures
            assert "y" in bug.code
        assert run.facts().stored[Key.BUG_OPERATORS].keys() == {bug.id for bug in bugs}


def test_the_reference_takes_the_place_of_right_code_that_is_not_there(tmp_path: Path, runner: TestRunner) -> None:
    wrong = replace(OWN, verdict=replace(OWN.verdict, outcome="failed"))
    with planted(tmp_path / "run", runner, [TASK], [wrong], collect__bugs=2) as run:
        assert {bug.parent for bug in run.attempts("bugs")} == {""}
        assert plain_source(TASK.reference, TASK.entry_point) not in {bug.code for bug in run.attempts("bugs")}


def test_different_right_programs_take_turns(tmp_path: Path, runner: TestRunner) -> None:
    other = replace(OWN, sample=1, code="def square(x):\n    z = x\n    return z * x\n")
    again = replace(OWN, sample=2)
    with planted(tmp_path / "run", runner, [TASK], [OWN, other, again], collect__bugs=4) as run:
        assert {bug.parent for bug in run.attempts("bugs")} == {OWN.id, other.id}


def test_what_is_stored_is_not_put_in_again_and_what_was_cut_short_is(tmp_path: Path, runner: TestRunner) -> None:
    with planted(tmp_path / "whole", runner, [TASK], [OWN]) as run:
        wanted = [bug.code for bug in run.attempts("bugs")]
        # Nothing is run: the runner would not have been needed.
        assert [bug.code for bug in plant_bugs(run, [TASK], [], None, NullProgress())] == wanted  # type: ignore[arg-type]
    with Run(tmp_path / "cut", small_config()) as run:
        run.add_attempt(make_attempt(arm="bugs", code="def square(x):\n    return 77\n"))
        assert [bug.code for bug in plant_bugs(run, [TASK], [OWN], runner, NullProgress())] == wanted


def test_no_bugs_are_put_in_where_none_are_asked_for_or_none_are_known(tmp_path: Path, runner: TestRunner) -> None:
    with planted(tmp_path / "none", runner, [TASK], [OWN], collect__bugs=0) as run:
        assert not run.attempts("bugs")
    with planted(tmp_path / "sql", runner, [replace(TASK, domain="sql", reference="SELECT 1")], []) as run:
        assert not run.attempts("bugs")
