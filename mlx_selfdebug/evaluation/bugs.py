"""Draw, store and load the bugs of an evaluation's second half. Each bug is a task together with a wrong program for it.

The bugs are stored with the run before a model sees them, so a run that is resumed goes on with the same programs. A bug is a
task of its own. Its id says where it came from, such as "HumanEval/3#constant-1"; its statement and its checks are those of the
task that it was put into.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_selfdebug.auditing.mutants import MUTABLE
from mlx_selfdebug.errors import ConfigError, TaskError
from mlx_selfdebug.evaluation.played import BUGS_PREFIX, HELD_BACK_PREFIX, given_arm
from mlx_selfdebug.repair.bugs import HUMANEVALFIX, Candidate, find_bugs, mutated, published
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Key, Run, StoredRun
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

OPERATORS, NONE = "operators", "none"
"""Values of ``eval.bugs``: bugs are put into the evaluation tasks by operators, or there are none."""


@dataclass(frozen=True)
class BugStore:
    """The place of one set of bugs in a run."""

    key: str
    """The key in the run's environment."""
    prefix: str
    """The prefix of the names of the arms that repair these bugs."""


EVALUATION = BugStore(Key.BUGS, BUGS_PREFIX)
GATE = BugStore(Key.GATE_BUGS, f"{HELD_BACK_PREFIX}{BUGS_PREFIX}")


def require_bug_source(source: str) -> None:
    """Raise ConfigError if ``source`` names no source of bugs, and TaskError if HumanEvalFix is wanted and cannot be loaded."""
    kind, colon, path = source.partition(":")
    if source not in (OPERATORS, NONE) and (kind != HUMANEVALFIX or (colon and not path)):
        raise ConfigError(
            f"eval.bugs: unknown source of bugs {source!r}. Known: {OPERATORS}, {HUMANEVALFIX}, {HUMANEVALFIX}:FILE, {NONE}"
        )
    if kind == HUMANEVALFIX:
        load_tasks(source)


def bugs_of(run: Run, store: BugStore, source: str, tasks: Sequence[Task], runner: TestRunner) -> list[Task]:
    """Return the bugs as tasks: the stored ones, or bugs that are drawn and stored now.

    With the source "operators", bugs are put into ``tasks``; otherwise ``tasks`` are not used. Raises TaskError if a published bug
    belongs to a task that was trained on, and SandboxError if programs cannot be tested.
    """
    origins = _origins(run, source, tasks)
    stored = run.facts().stored.get(store.key)
    if stored is None:
        stored = _draw(run, store, source, origins, runner)
    known = {task.id: task for task in origins}
    # The wrong answers of a published task are the bugs themselves, which a bug need not carry along.
    return [replace(known[unit["task"]], id=unit["id"], wrong=()) for unit in stored["units"]]


def origin_id(bug: Task) -> str:
    """Return the id of the task that a bug belongs to."""
    return bug.id.rpartition("#")[0]


def given_attempts(run: StoredRun, store: BugStore) -> dict[str, Attempt]:
    """Return the failed programs by the ids of their bugs."""
    return {attempt.task_id: attempt for attempt in run.attempts(given_arm(store.prefix))}


def _origins(run: Run, source: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that the bugs belong to."""
    if source == NONE:
        return []
    if source == OPERATORS:
        return list(tasks)
    published_tasks = list(load_tasks(source.replace(HUMANEVALFIX, "humanevalpack", 1)))
    _refuse_trained_on(run, published_tasks)
    return published_tasks


def _draw(run: Run, store: BugStore, source: str, origins: Sequence[Task], runner: TestRunner) -> Mapping[str, Any]:
    """Find bugs, store their programs and their ids, and return the record of them that is stored."""
    settings = run.config.eval
    candidates = _candidates(source, origins, run.config.seed)
    _warn_of_left_out(source, origins)
    bugs = find_bugs(candidates, runner, per_task=settings.bugs_per_task, limit=settings.bugs_limit)
    arm = given_arm(store.prefix)
    # A draw that was interrupted may have stored some programs already, and this draw may choose others.
    run.delete_attempts(arm)
    for bug in bugs:
        run.add_attempt(bug.to_attempt(arm, bug.candidate.id))
    units = [
        {"id": bug.candidate.id, "task": bug.candidate.task.id, "operator": bug.candidate.operator} for bug in bugs
    ]
    stored: Mapping[str, Any] = run.remember(store.key, {"source": source, "units": units})
    return stored


def _candidates(source: str, origins: Sequence[Task], seed: int) -> dict[str, list[Candidate]]:
    if source in (OPERATORS, NONE):
        return {task.id: mutated(task, seed) for task in origins}
    wrong = {_problem(task.id): task.wrong[0] for task in load_tasks(source)}
    return {task.id: published(task, wrong[_problem(task.id)]) for task in origins}


def _warn_of_left_out(source: str, tasks: Sequence[Task]) -> None:
    others = sorted({task.domain for task in tasks if task.domain not in MUTABLE})
    if source == OPERATORS and others:
        n = sum(task.domain not in MUTABLE for task in tasks)
        logger.warning(
            "no bugs are put into %d of the tasks (domain%s %s): bugs can be put into Python programs only",
            n, "" if len(others) == 1 else "s", ", ".join(others),
        )  # fmt: skip


def _refuse_trained_on(run: Run, tasks: Sequence[Task]) -> None:
    trained = {_problem(id_) for id_ in run.facts().training_tasks}
    seen = sorted(task.id for task in tasks if _problem(task.id) in trained)
    if seen:
        raise TaskError(
            f"{len(seen)} of the tasks that bugs are taken from were trained on, {seen[0]} among them",
            hint="take bugs from tasks that the run was not trained on: --eval-bugs operators",
        )


def _problem(task_id: str) -> str:
    """Return the same name for a problem of HumanEval, whichever of its published sets the id comes from.

    The ids of other sets are returned unchanged.
    """
    family, _, number = task_id.rpartition("/")
    return f"HumanEval/{number}" if family.startswith("HumanEval") else task_id
