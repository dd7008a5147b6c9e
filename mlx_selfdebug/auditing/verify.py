"""Check whether tasks are fit to learn from: references must pass, known wrong answers and programs that do nothing must fail.

>>> from mlx_selfdebug.sandbox import TestRunner                                        # doctest: +SKIP
>>> with TestRunner(workers=2) as runner:                                               # doctest: +SKIP
...     check_tasks(load_tasks("starter"), runner)
[]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.runner import TestRunner


_NO_CHECKS = {"public": "nothing can be fed back to the model", "hidden": "an answer cannot be scored"}
"""What the lack of each kind of checks means, in words."""


@dataclass(frozen=True)
class TaskProblem:
    """Something that is wrong with a task."""

    task_id: str
    severity: Literal["error", "warning"]
    """An error makes results on the task wrong. A warning says what the task cannot be used for."""
    what: str
    """The problem in words."""


def check_tasks(tasks: Iterable[Task], runner: TestRunner, *, progress: Progress | None = None) -> list[TaskProblem]:
    """Return the problems of all tasks, in the order of the tasks.

    A task takes at most three test runs, and one more for each of its known wrong answers.
    """
    started = [(task, _start(task, runner)) for task in tasks]
    problems: list[TaskProblem] = []
    with (progress or NullProgress()).stage("check", len(started), "tasks") as bar:
        for task, runs in started:
            problems += _problems(task, runs)
            bar.advance(1, f"{len(problems)} problems")
    return problems


@dataclass(frozen=True)
class _Runs:
    """The test runs of a task. A run is None if the task lacks the program or the checks for it."""

    public: Future[Verdict] | None
    """The reference under the public checks."""
    hidden: Future[Verdict] | None
    """The reference under the hidden checks."""
    nothing: Future[Verdict] | None
    """A program that does nothing under the hidden checks."""
    wrong: tuple[Future[Verdict], ...]
    """The known wrong answers under the hidden checks."""


def _start(task: Task, runner: TestRunner) -> _Runs:
    """Start the test runs of a task."""
    domain = domain_of(task.domain)

    def run(code: str, checks: Checks) -> Future[Verdict] | None:
        return domain.judge(code, task, checks, runner) if code and checks else None

    return _Runs(
        public=run(task.reference, task.public),
        hidden=run(task.reference, task.hidden),
        nothing=run(domain.nothing(task), task.hidden),
        wrong=tuple(future for answer in task.wrong if (future := run(answer, task.hidden))),
    )


def _problems(task: Task, runs: _Runs) -> Iterator[TaskProblem]:
    """Wait for the runs of a task, and yield its problems."""
    for name, checks in (("public", task.public), ("hidden", task.hidden)):
        if not checks:
            yield TaskProblem(task.id, "warning", f"no {name} checks: {_NO_CHECKS[name]}")
    if not task.reference:
        yield TaskProblem(task.id, "warning", "no reference: it is not known whether the checks can be passed")
    for name, run in (("public", runs.public), ("hidden", runs.hidden)):
        if run is not None and not run.result().passed:
            yield TaskProblem(
                task.id, "error", f"the reference does not pass the {name} checks: {reason_of(run.result())}"
            )
    if runs.nothing is not None and runs.nothing.result().passed:
        yield TaskProblem(task.id, "error", "an answer that does nothing passes the hidden checks: they are too weak")
    for number, run in enumerate(runs.wrong, 1):
        if run.result().passed:
            yield TaskProblem(task.id, "error", f"wrong answer {number} passes the hidden checks")


def reason_of(verdict: Verdict) -> str:
    """Return a line that says why a program did not pass: the outcome, the first failed check, and the value or error that came."""
    if not verdict.failures:
        return verdict.outcome
    failure = verdict.failures[0]
    got = f"{failure.error.type}: {failure.error.message}" if failure.error else failure.got
    return f"{verdict.outcome}: {failure.check}" + (f", got {got}" if got else "")
