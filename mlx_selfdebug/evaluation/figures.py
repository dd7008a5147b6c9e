"""What the results on a task are counted by: its hidden checks, found by running the reference, and the reference's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.task import Task


@dataclass(frozen=True)
class TaskFigures:
    """``n_checks``: hidden ones. ``size``: lexical tokens of the reference."""

    domain: str
    n_checks: int
    size: int


def figures_of(tasks: Sequence[Task], runner: TestRunner) -> dict[str, TaskFigures]:
    """By the task's id. Raises TaskError naming every reference that fails its own hidden checks."""
    futures = {task.id: domain_of(task.domain).judge(task.reference, task, task.hidden, runner) for task in tasks}
    verdicts = {id_: future.result() for id_, future in futures.items()}
    bad = [f"{id_}: {verdict.outcome}" for id_, verdict in verdicts.items() if not verdict.passed]
    if bad:
        raise TaskError(
            "the reference of these tasks fails its own hidden checks:", problems=bad, hint="mlx-selfdebug tasks check"
        )
    return {task.id: TaskFigures(task.domain, verdicts[task.id].n_checks, _size(task)) for task in tasks}


def _size(task: Task) -> int:
    return len(domain_of(task.domain).tokens(task.reference))
