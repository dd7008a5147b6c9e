"""Draw, store and load the bugs of an evaluation's second half. A bug is a task together with a wrong program for it.

The bugs are stored with the run before a model sees them, so a run that is resumed goes on with the same programs. Each bug counts
as a task of its own. Its id says where it came from, such as "HumanEval/3#constant-1". It has the statement and the checks of
the task that it was put into.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

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
"""The place of the bugs of the evaluation's second half."""
GATE = BugStore(Key.GATE_BUGS, f"{HELD_BACK_PREFIX}{BUGS_PREFIX}")
"""The place of the bugs that are put into the tasks held back from training."""


class _StoredBug(TypedDict):
    """The record of one bug."""

    id: str
    task: str
    """The id of the task that the bug was put into."""
    operator: str
    """The name of the operator that made the bug, such as "constant"."""


class _StoredBugs(TypedDict):
    """The record of one set of bugs."""

    source: str
    """The value of ``eval.bugs`` with which they were drawn."""
    units: list[_StoredBug]
    """The bugs."""


def require_bug_source(source: str) -> None:
    """Require that ``source`` is a valid value of ``eval.bugs``.

    Raises ConfigError if it names no source of bugs, and TaskError if HumanEvalFix is wanted and cannot be loaded.
    """
    kind, colon, path = source.partition(":")
    if source not in (OPERATORS, NONE) and (kind != HUMANEVALFIX or (colon and not path)):
        raise ConfigError(
            f"eval.bugs: unknown source of bugs {source!r}. Known: {OPERATORS}, {HUMANEVALFIX}, {HUMANEVALFIX}:FILE, {NONE}"
        )
    if kind == HUMANEVALFIX:
        load_tasks(source)


def bugs_of(run: Run, store: BugStore, source: str, tasks: Sequence[Task], runner: TestRunner) -> list[Task]:
    """Return the bugs as tasks. If ``store`` has none yet, they are drawn and stored now.

    With the source "operators", bugs are put into ``tasks``; otherwise ``tasks`` are not used. Raises TaskError if a published bug
    belongs to a task that was trained on, and SandboxError if programs cannot be tested.
    """
    origins = _origins(run, source, tasks)
    stored: _StoredBugs | None = run.facts().stored.get(store.key)
    if stored is None:
        stored = _draw(run, store, source, origins, runner)
    origins_by_id = {task.id: task for task in origins}
    # The wrong answers of a published task are the bugs themselves, so a bug need not carry them along.
    return [replace(origins_by_id[bug["task"]], id=bug["id"], wrong=()) for bug in stored["units"]]


def origin_id(bug: Task) -> str:
    """Return the id of the task that a bug belongs to."""
    return bug.id.rpartition("#")[0]


def given_attempts(run: StoredRun, store: BugStore) -> dict[str, Attempt]:
    """Return the failed programs by the ids of their bugs."""
    return {attempt.task_id: attempt for attempt in run.attempts(given_arm(store.prefix))}


def _origins(run: Run, source: str, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that the bugs belong to. Raises TaskError if a published one was trained on."""
    if source == NONE:
        return []
    if source == OPERATORS:
        return list(tasks)
    published_tasks = list(load_tasks(source.replace(HUMANEVALFIX, "humanevalpack", 1)))
    _refuse_trained_on(run, published_tasks)
    return published_tasks


def _draw(run: Run, store: BugStore, source: str, origins: Sequence[Task], runner: TestRunner) -> _StoredBugs:
    """Find bugs, store their programs and the record of them, and return this record."""
    settings = run.config.eval
    candidates = _candidates(source, origins, run.config.seed)
    _warn_of_left_out(source, origins)
    arm = given_arm(store.prefix)
    # A draw that was interrupted may have stored some programs already, and this draw may choose others.
    run.delete_attempts(arm)

    def draw() -> list[_StoredBug]:
        bugs = find_bugs(candidates, runner, per_task=settings.bugs_per_task, limit=settings.bugs_limit)
        for bug in bugs:
            run.add_attempt(bug.to_attempt(arm, bug.candidate.id))
        return [
            _StoredBug(id=bug.candidate.id, task=bug.candidate.task.id, operator=bug.candidate.operator) for bug in bugs
        ]

    units = run.group.agree(draw)
    run.share_attempts(arm)
    stored: _StoredBugs = run.remember(store.key, _StoredBugs(source=source, units=units))
    return stored


def _candidates(source: str, origins: Sequence[Task], seed: int) -> dict[str, list[Candidate]]:
    """Return the wrong programs to choose from, by the id of the task."""
    if source in (OPERATORS, NONE):
        return {task.id: mutated(task, seed) for task in origins}
    wrong = {_problem(task.id): task.wrong[0] for task in load_tasks(source)}
    return {task.id: published(task, wrong[_problem(task.id)]) for task in origins}


def _warn_of_left_out(source: str, tasks: Sequence[Task]) -> None:
    """Log a warning if bugs are to be put into ``tasks`` and some of these are not Python."""
    domains = [task.domain for task in tasks if task.domain not in MUTABLE]
    if source == OPERATORS and domains:
        names = sorted(set(domains))
        logger.warning(
            "no bugs are put into %d of the tasks (domain%s %s): bugs can be put into Python programs only",
            len(domains), "" if len(names) == 1 else "s", ", ".join(names),
        )  # fmt: skip


def _refuse_trained_on(run: Run, tasks: Sequence[Task]) -> None:
    """Raise TaskError if one of ``tasks`` is also a training task of the run."""
    trained = {_problem(id_) for id_ in run.facts().training_tasks}
    trained_on = sorted(task.id for task in tasks if _problem(task.id) in trained)
    if trained_on:
        raise TaskError(
            f"{len(trained_on)} of the tasks that bugs are taken from were trained on, {trained_on[0]} among them",
            hint="take bugs from tasks that the run was not trained on: --eval-bugs operators",
        )


def _problem(task_id: str) -> str:
    """Return the name of the problem of a task, such as "HumanEval/3", which all published sets of HumanEval share.

    The ids of other sets are returned unchanged.
    """
    family, _, number = task_id.rpartition("/")
    return f"HumanEval/{number}" if family.startswith("HumanEval") else task_id
