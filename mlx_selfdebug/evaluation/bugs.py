"""The second half of an evaluation: bugs, as tasks to be played with a failed program that is given.

What was drawn is stored with the run before anything is made of it, so a run that is resumed goes on with the same programs. A bug
is a task of its own: its id says where it came from, "HumanEval/3#constant-1", its statement and its checks are the task's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_selfdebug.errors import ConfigError, TaskError
from mlx_selfdebug.evaluation.played import BUGS_PREFIX, GATE_BUGS, HELD_BACK, OWN_BUGS, given_arm
from mlx_selfdebug.repair.bugs import HUMANEVALFIX, Candidate, find_bugs, mutated, published
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run, StoredRun
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

OPERATORS, NONE = "operators", "none"


@dataclass(frozen=True)
class Kept:
    """Where the bugs of a set of tasks are kept: the environment's ``key``, and what the names of arms begin with."""

    key: str
    prefix: str


EVALUATION = Kept(OWN_BUGS, BUGS_PREFIX)
GATE = Kept(GATE_BUGS, f"{HELD_BACK}{BUGS_PREFIX}")


def check_source(source: str) -> None:
    """Raises ConfigError for a word that says no source of bugs, TaskError where its file cannot be had."""
    kind, colon, path = source.partition(":")
    if source not in (OPERATORS, NONE) and (kind != HUMANEVALFIX or (colon and not path)):
        raise ConfigError(
            f"eval.bugs: unknown source {source!r}. Known: {OPERATORS}, {HUMANEVALFIX}, {HUMANEVALFIX}:FILE, {NONE}"
        )
    if kind == HUMANEVALFIX:
        load_tasks(source)


def bugs_of(run: Run, kept: Kept, source: str, tasks: Sequence[Task], runner: TestRunner) -> list[Task]:
    """The bugs as tasks: those that are stored, else drawn and stored now. ``tasks`` are those that operators work on.

    Raises TaskError if a published bug is one of a task that was trained on, SandboxError if programs cannot be tested.
    """
    origins = _origins(run, source, tasks)
    stored = run.environment().get(kept.key)
    if stored is None:
        stored = _draw(run, kept, source, origins, runner)
    known = {task.id: task for task in origins}
    return [replace(known[unit["task"]], id=unit["id"], wrong=()) for unit in stored["units"]]


def origin_id(bug: Task) -> str:
    """Of the task that a bug is of."""
    return bug.id.rpartition("#")[0]


def given_attempts(run: StoredRun, kept: Kept) -> dict[str, Attempt]:
    """By a bug's id, its failed program."""
    return {attempt.task_id: attempt for attempt in run.attempts(given_arm(kept.prefix))}


def _origins(run: Run, source: str, tasks: Sequence[Task]) -> list[Task]:
    """The tasks that the bugs are of."""
    if source == NONE:
        return []
    if source == OPERATORS:
        return list(tasks)
    published_tasks = list(load_tasks(source.replace(HUMANEVALFIX, "humanevalpack", 1)))
    _refuse_trained_on(run, published_tasks)
    return published_tasks


def _draw(run: Run, kept: Kept, source: str, origins: Sequence[Task], runner: TestRunner) -> Mapping[str, Any]:
    settings = run.config.eval
    candidates = _candidates(source, origins, run.config.seed)
    _say_what_is_left_out(source, origins)
    bugs = find_bugs(candidates, runner, per_task=settings.bugs_per_task, limit=settings.bugs_limit)
    arm = given_arm(kept.prefix)
    # What a draw that was interrupted has left behind may be of other programs.
    run.drop_attempts(arm)
    for bug in bugs:
        run.add_attempt(bug.to_attempt(arm, bug.candidate.id))
    units = [
        {"id": bug.candidate.id, "task": bug.candidate.task.id, "operator": bug.candidate.operator} for bug in bugs
    ]
    stored: Mapping[str, Any] = run.remember(kept.key, {"source": source, "units": units})
    return stored


def _candidates(source: str, origins: Sequence[Task], seed: int) -> dict[str, list[Candidate]]:
    if source in (OPERATORS, NONE):
        return {task.id: mutated(task, seed) for task in origins}
    wrong = {_problem(task.id): task.wrong[0] for task in load_tasks(source)}
    return {task.id: published(task, wrong[_problem(task.id)]) for task in origins}


def _say_what_is_left_out(source: str, tasks: Sequence[Task]) -> None:
    others = sorted({task.domain for task in tasks if task.domain != "python"})
    if source == OPERATORS and others:
        n = sum(task.domain != "python" for task in tasks)
        logger.warning(
            "no bugs are put into %d of the tasks, of the domain%s %s: bugs can be put into Python programs alone",
            n, "" if len(others) == 1 else "s", ", ".join(others),
        )  # fmt: skip


def _refuse_trained_on(run: Run, tasks: Sequence[Task]) -> None:
    trained = {_problem(id_) for id_ in run.environment().get("collect.tasks", [])}
    seen = sorted(task.id for task in tasks if _problem(task.id) in trained)
    if seen:
        raise TaskError(
            f"{len(seen)} of the tasks that bugs are taken from were trained on, {seen[0]} among them",
            hint="take bugs from tasks that the run has not seen: --eval-bugs operators",
        )


def _problem(task_id: str) -> str:
    """One name for a problem of HumanEval, whichever of its sets it is read from."""
    family, _, number = task_id.rpartition("/")
    return f"HumanEval/{number}" if family.startswith("HumanEval") else task_id
