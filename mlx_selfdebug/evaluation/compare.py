"""Compare the evaluations of two runs, arm by arm, on the tasks that both were evaluated on.

Runs whose figures mean different things are not compared: the error names every setting and every task that does not match.

>>> with open_stored("runs/a") as a, open_stored("runs/b") as b:                        # doctest: +SKIP
...     print(compare(a, b))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from mlx_selfdebug.columns import columns
from mlx_selfdebug.config import SETTINGS, get
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.arms import FIRST, ArmKey
from mlx_selfdebug.evaluation.contrasts import difference
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, Played, read_bugs, read_own_failures
from mlx_selfdebug.evaluation.statistics import Interval, holm, mcnemar
from mlx_selfdebug.store import StoredRun

MUST_MATCH = (
    "eval.tokens",
    "eval.forks",
    "eval.temperature",
    "eval.min_p",
    "eval.max_tokens",
    "sandbox.wall_s",
    "sandbox.cpu_s",
    "sandbox.memory_mb",
)
"""Settings that two runs must have in common before their figures can be compared."""


@dataclass(frozen=True)
class Row:
    """One arm of one model, compared between the two runs on the tasks that they share."""

    arm: str
    """Model and arm, such as "adapter/facts"."""
    solved: tuple[int, int]
    """The numbers of problems that the first run solves and that the second solves."""
    only_first: int
    """Problems that the first run solves and the second does not."""
    only_second: int
    """Problems that the second run solves and the first does not."""
    p: float
    """The p value of the exact McNemar test."""
    p_holm: float
    """``p`` corrected for the number of rows in both halves (Holm)."""
    interval: Interval
    """The 95 % interval of the second run's share of problems solved minus the first run's."""


@dataclass(frozen=True)
class HalfCompared:
    """The comparison of one half of the evaluation: own failures, or bugs."""

    tasks: tuple[str, ...]
    """Ids of the tasks that both runs have in this half."""
    rows: tuple[Row, ...]

    def table(self) -> str:
        """Return the rows as a text table with aligned columns."""
        n = len(self.tasks)
        head = ["", "A", "B", "only A", "only B", "B - A, 95 %", "p", "p (Holm)"]
        rows = [
            [row.arm, f"{row.solved[0]}/{n}", f"{row.solved[1]}/{n}", str(row.only_first), str(row.only_second),
             f"{row.interval:.1%}", f"{row.p:.2g}", f"{row.p_holm:.2g}"]
            for row in self.rows
        ]  # fmt: skip
        return columns([head, *rows], right=range(1, 8))


@dataclass(frozen=True)
class Comparison(HalfCompared):
    """The comparison of two runs. The inherited fields compare the half of the models' own failures."""

    runs: tuple[str, str]
    """Paths of the first run and the second."""
    differences: Mapping[str, tuple[Any, Any]]
    """Settings in which the runs differ, with both values; they may explain a difference in the figures."""
    bugs: HalfCompared | None = None
    """The half of the bugs; None if the runs share no bug."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the tables of both halves and the settings that differ, as text."""
        first, second = self.runs
        head = f"A: {first}\nB: {second}\nproblems solved, of the {len(self.tasks)} that both runs were evaluated on"
        parts = [head, self.table()]
        if self.bugs:
            parts += [f"bugs repaired, of the {len(self.bugs.tasks)} that both runs were given", self.bugs.table()]
        other = [f"{key}: A has {a!r}, B has {b!r}" for key, (a, b) in self.differences.items()]
        return "\n\n".join(part for part in (*parts, "\n".join(other)) if part)


@dataclass(frozen=True)
class _SharedHalf:
    """One half of the evaluation that both runs played."""

    first: Played
    second: Played

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the tasks that both runs have in this half."""
        return tuple(id_ for id_ in self.first.figures if id_ in self.second.figures)

    def compared(self) -> HalfCompared:
        """Compare every arm that both runs played. The p values are not corrected yet."""
        tasks = set(self.tasks)
        keys = [key for key in _arms(self.first) if key in _arms(self.second)]
        rows = [_row(key, self.first.solved[key] & tasks, self.second.solved[key] & tasks, self.tasks) for key in keys]
        return HalfCompared(self.tasks, tuple(rows))


def compare(first: StoredRun, second: StoredRun) -> Comparison:
    """Compare every arm that both runs played, with an exact McNemar test per arm, corrected over both halves (Holm).

    Raises UsageError if a run was not evaluated, if the runs have no task in common, or if their figures cannot be compared. They
    cannot if settings of the evaluation or of the test runner differ, or the number of hidden checks of a shared task.
    """
    shared = [_SharedHalf(_own_failures(first), _own_failures(second))]
    bugs = read_bugs(first), read_bugs(second)
    if bugs[0] and bugs[1]:
        shared.append(_SharedHalf(bugs[0], bugs[1]))
    _refuse_incomparable(first, second, shared)
    halves = _corrected([half.compared() for half in shared if half.tasks])
    return Comparison(
        tasks=halves[0].tasks,
        rows=halves[0].rows,
        runs=(str(first.path), str(second.path)),
        differences=_differences(first, second),
        bugs=halves[1] if len(halves) > 1 else None,
    )


def _corrected(halves: Sequence[HalfCompared]) -> list[HalfCompared]:
    """Return the halves with p values that are corrected for the number of rows in all of them (Holm)."""
    p_values = iter(holm([row.p for half in halves for row in half.rows]))
    corrected = []
    for half in halves:
        rows = tuple(replace(row, p_holm=next(p_values)) for row in half.rows)
        corrected.append(replace(half, rows=rows))
    return corrected


def _own_failures(run: StoredRun) -> Played:
    """Return the half of the model's own failures. Raises UsageError if the run has no finished evaluation."""
    played = read_own_failures(run)
    if played is None:
        raise UsageError(
            f"{run.path} was not evaluated, or its evaluation is not finished",
            hint=f"mlx-selfdebug eval --run {run.path}",
        )
    return played


def _refuse_incomparable(first: StoredRun, second: StoredRun, halves: Sequence[_SharedHalf]) -> None:
    """Raise a UsageError that names everything that does not match, if anything does not. ``halves`` begins with own failures."""
    if not halves[0].tasks:
        raise UsageError(f"{first.path} and {second.path} have no evaluation task in common")
    problems = [
        f"{key}: {get(first.config, key)!r} and {get(second.config, key)!r}"
        for key in MUST_MATCH
        if get(first.config, key) != get(second.config, key)
    ]
    for half in halves:
        n_checks = {id_: (half.first.figures[id_].n_checks, half.second.figures[id_].n_checks) for id_ in half.tasks}
        problems += [f"{id_}: {a} and {b} hidden checks" for id_, (a, b) in n_checks.items() if a != b]
    if problems:
        raise UsageError(
            f"{first.path} and {second.path} cannot be compared because they were evaluated differently:\n  "
            + "\n  ".join(problems),
            hint="evaluate both runs with the same settings",
        )


def _differences(first: StoredRun, second: StoredRun) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which the runs differ, with both values, and under "weights" the models if those differ."""
    origins = tuple(run.facts().model for run in (first, second))
    weights = {"weights": origins} if origins[0] != origins[1] else {}
    pairs = {key: (get(first.config, key), get(second.config, key)) for key in SETTINGS}
    return {**weights, **{key: pair for key, pair in pairs.items() if pair[0] != pair[1]}}


def _arms(played: Played) -> list[ArmKey]:
    """Return the arms of base and adapter. Other adapters are left out, since their names have a meaning in their own run only.

    In the half of the bugs the first drafts are left out, since they are the bugs and no model drafted them.
    """
    arms = [(model, arm) for model in (BASE, ADAPTER) for arm in played.models.get(model, {})]
    is_half_of_bugs = bool(played.origins)
    return [ArmKey(model, arm) for model, arm in arms if not (is_half_of_bugs and arm == FIRST)]


def _row(arm: str, first: Set[str], second: Set[str], tasks: Sequence[str]) -> Row:
    """Return the row of one arm, from the ids of the tasks that each run solves. Its ``p_holm`` is not corrected yet."""
    only_first, only_second = len(first - second), len(second - first)
    p = mcnemar(only_second, only_first)
    return Row(
        arm=arm,
        solved=(len(first), len(second)),
        only_first=only_first,
        only_second=only_second,
        p=p,
        p_holm=p,
        interval=difference(second, first, tasks),
    )
