"""Sweep sampling: draft each task many times at several temperatures, repair what failed, and count what each population solves.

A population is the number of drafts of a task. The drafts of a temperature are independent of each other. So the smaller
populations are the beginnings of the largest one, and only that one is drawn. Each failed draft is repaired once, and the repair is
shown its code and its facts.

    rows = sweep(run, model, load_tasks("humaneval"), populations=(2, 4, 8, 16), temperatures=(0.2, 0.8, 1.2))

The attempts of a temperature are stored in an arm of their own, such as "sweep/0.8". A sweep that was interrupted goes on with
those that it has stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlx_selfdebug.columns import columns
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.arms import answer
from mlx_selfdebug.evaluation.figures import figures_of
from mlx_selfdebug.evaluation.statistics import wilson
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.policies import Move, repairable
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.stages.common import decoding_of, remember_isolation
from mlx_selfdebug.store import Key, Run
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

UNLIMITED = 10**12
"""More tokens than any population takes."""


@dataclass(frozen=True)
class SweepRow:
    """What one population at one temperature came to.

    Of a population, that program is handed in which passes the public checks first, or else the last one.
    """

    temperature: float
    population: int
    """The number of drafts of each problem."""
    problems: int
    solved: int
    """The number of problems whose handed-in draft passes the hidden checks."""
    solved_after_repair: int
    """The same where the repairs of failed drafts are handed in as well, after the drafts."""
    any_right: int
    """The number of problems of which any draft passes the hidden checks, whether it would be handed in or not."""
    checks_passed: int
    """The number of hidden checks that the programs handed in after repair pass, in all problems together."""
    checks: int
    """The number of hidden checks of all problems."""
    tokens: int
    """The number of tokens that were decoded, repairs included."""


@dataclass(frozen=True)
class _DraftsAndRepairs:
    """A policy of independent drafts, each of which is repaired once if it failed."""

    population: int

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        if not attempts:
            return [Move(sample) for sample in range(self.population)]
        if any(attempt.round for attempt in attempts):
            return []
        return [Move(draft.sample, 1, draft) for draft in attempts if repairable(draft)]


def sweep(
    run: Run,
    model: Model,
    tasks: Sequence[Task],
    *,
    populations: Sequence[int],
    temperatures: Sequence[float],
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> list[SweepRow]:
    """Return a row for each temperature and population, with the settings of ``collect`` for everything else.

    Raises:
        UsageError: there are no tasks, populations or temperatures, or a population is smaller than 1.
        TaskError: a reference fails its own hidden checks.
        ConfigError: the run was begun with another model or other tasks.
        SandboxError: tests cannot be run, or cannot be fully confined while ``allow_weak_sandbox`` is false.
    """
    if not (tasks and temperatures and populations) or min(populations) < 1:
        raise UsageError("a sweep needs tasks, temperatures, and populations of at least 1")
    run.require(Key.MODEL, model.origin, "model")
    run.require(Key.SWEPT_TASKS, [task.id for task in tasks], "set of tasks")
    decoding = decoding_of(run.config.collect, run.config)
    plays = {
        temperature: Play(
            f"sweep/{temperature:g}",
            tasks,
            _DraftsAndRepairs(max(populations)),
            replace(decoding, temperature=temperature),
        )
        for temperature in dict.fromkeys(temperatures)
    }
    with open_runner(run.config.sandbox, tasks, allow_weak_sandbox=allow_weak_sandbox) as runner:
        remember_isolation(run, runner)
        figures = figures_of(tasks, runner)
        with (progress or NullProgress()).stage("sweep", len(plays) * len(tasks), "tasks") as stage:
            made = Stream(run, model, runner, stage).play(*plays.values())
    n_checks = sum(task.n_checks for task in figures.values())
    return [
        row_of(temperature, population, made[play.arm], n_checks)
        for temperature, play in plays.items()
        for population in sorted(set(populations))
    ]


def row_of(temperature: float, population: int, attempts: Sequence[Attempt], n_checks: int) -> SweepRow:
    """Return the row of a population.

    ``attempts`` are those of its temperature, on all tasks and of all samples. The tasks have ``n_checks`` hidden checks together.
    """
    by_task: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (a.round, a.sample)):
        if attempt.sample < population:
            by_task.setdefault(attempt.task_id, []).append(attempt)
    drafts = {id_: [a for a in made if not a.round] for id_, made in by_task.items()}
    answers = [answer(made, UNLIMITED) for made in by_task.values()]
    return SweepRow(
        temperature=temperature,
        population=population,
        problems=len(by_task),
        solved=sum(answer(made, UNLIMITED).passed for made in drafts.values()),
        solved_after_repair=sum(answered.passed for answered in answers),
        any_right=sum(any(draft.passed for draft in made) for made in drafts.values()),
        checks_passed=sum(answered.verdict.n_passed for answered in answers),
        checks=n_checks,
        tokens=sum(attempt.n_completion_tokens for made in by_task.values() for attempt in made),
    )


def sheet(rows: Sequence[SweepRow]) -> str:
    """Return the rows as a table for a terminal, with the Wilson interval of the problems solved after repair."""
    head = ["temperature", "population", "drafts", "any draft", "after repair", "95 %", "tests", "tokens"]
    return columns([head, *(_cells(row) for row in rows)], right=range(8))


def _cells(row: SweepRow) -> list[str]:
    interval = wilson(row.solved_after_repair, row.problems)
    return [
        f"{row.temperature:g}", str(row.population), f"{row.solved}/{row.problems}", f"{row.any_right}/{row.problems}",
        f"{row.solved_after_repair}/{row.problems}", f"{interval:.0%}", f"{row.checks_passed}/{row.checks}", f"{row.tokens:,}",
    ]  # fmt: skip
