"""Determine two figures of each task, by which results are counted: its number of hidden checks and the length of its reference.

The reference is run to find the number of checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.task import Task


@dataclass(frozen=True)
class TaskFigures:
    """The figures of one task, by which results are counted."""

    domain: str
    """The name of the task's domain."""
    n_checks: int
    """The number of hidden checks."""
    size: int
    """The length of the reference in lexical tokens."""


def figures_of(tasks: Sequence[Task], runner: TestRunner) -> dict[str, TaskFigures]:
    """Run every task's reference and return the figures by task id.

    Raises a TaskError that names every task whose reference fails its own hidden checks.
    """
    # All references are submitted before the first result is awaited, so that they run side by side.
    futures = {task.id: domain_of(task.domain).judge(task.reference, task, task.hidden, runner) for task in tasks}
    verdicts = {id_: future.result() for id_, future in futures.items()}
    problems = [f"{id_}: {verdict.outcome}" for id_, verdict in verdicts.items() if not verdict.passed]
    if problems:
        raise TaskError(
            "the references of these tasks fail their own hidden checks:",
            problems=problems,
            hint="mlx-selfdebug tasks check",
        )
    return {
        task.id: TaskFigures(
            task.domain,
            n_checks=verdicts[task.id].n_checks,
            size=len(domain_of(task.domain).tokens(task.reference)),
        )
        for task in tasks
    }
