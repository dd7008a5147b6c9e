from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_selfdebug.auditing.verify import TaskProblem, check_tasks
from mlx_selfdebug.tasks import Checks, Task

GOOD = Task(
    id="t/double",
    domain="python",
    statement="Return n doubled.",
    entry_point="double",
    public=Checks.from_asserts(["assert double(2) == 4"]),
    hidden=Checks.from_asserts(["assert double(5) == 10"]),
    reference="def double(n):\n    return 2 * n\n",
)


def test_a_sound_task_has_no_problems(runner):
    assert check_tasks([GOOD], runner) == []


@pytest.mark.parametrize("kind", ["public", "hidden"])
def test_a_reference_that_fails_is_an_error_with_the_check(runner, kind: str):
    broken = replace(GOOD, **{kind: Checks.from_asserts(["assert double(3) == 7"])})
    [problem] = check_tasks([broken], runner)
    assert (problem.task_id, problem.severity) == ("t/double", "error")
    assert problem.what.startswith(f"the reference does not pass the {kind} checks: failed: ")
    assert problem.what.endswith("got 6")


def test_a_reference_that_raises_is_an_error_with_the_exception(runner):
    [first, _] = check_tasks([replace(GOOD, reference="def double(n):\n    raise KeyError('no')\n")], runner)
    assert "KeyError" in first.what


def test_checks_that_a_function_returning_none_passes_are_too_weak(runner):
    [problem] = check_tasks([replace(GOOD, hidden=Checks.from_asserts(["assert double(5) != 11"]))], runner)
    assert problem == TaskProblem(
        "t/double", "error", "an answer that does nothing passes the hidden checks: they are too weak"
    )


@pytest.mark.parametrize("kind", ["public", "hidden"])
def test_missing_checks_are_a_warning(runner, kind: str):
    [problem] = check_tasks([replace(GOOD, **{kind: Checks()})], runner)
    assert problem.severity == "warning"
    assert problem.what.startswith(f"no {kind} checks")


def test_a_missing_reference_is_a_warning(runner):
    [problem] = check_tasks([replace(GOOD, reference="")], runner)
    assert (problem.severity, problem.what[:12]) == ("warning", "no reference")


def test_problems_come_in_the_order_of_the_tasks(runner):
    tasks = [replace(GOOD, id=f"t/{n}", reference="") for n in range(5)]
    assert [problem.task_id for problem in check_tasks(tasks, runner)] == [task.id for task in tasks]
