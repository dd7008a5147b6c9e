"""Compare the evaluations of two runs, arm by arm, on the tasks that both were evaluated on.

Runs whose figures mean different things are not compared: the error names every setting and every task that does not match.

>>> with open_stored("runs/a") as a, open_stored("runs/b") as b:                        # doctest: +SKIP
...     print(compare(a, b))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
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
    """Problems solved by the first run and by the second."""
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
    """The comparison of two runs: its own fields are the half of the models' own failures."""

    runs: tuple[str, str]
    """Paths of the first run and the second."""
    differences: Mapping[str, tuple[Any, Any]]
    """Settings in which the runs differ, with both values; they may explain a difference in the figures."""
    bugs: HalfCompared | None = None
    """The half of the bugs; None where the runs share no bug."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        first, second = self.runs
        head = f"A: {first}\nB: {second}\nproblems solved, of the {len(self.tasks)} that both runs were evaluated on"
        parts = [head, self.table()]
        if self.bugs:
            parts += [f"bugs repaired, of the {len(self.bugs.tasks)} that both runs were given", self.bugs.table()]
        other = [f"{key}: A has {a!r}, B has {b!r}" for key, (a, b) in self.differences.items()]
        return "\n\n".join(part for part in (*parts, "\n".join(other)) if part)


def compare(first: StoredRun, second: StoredRun) -> Comparison:
    """Compare every arm that both runs played, with an exact McNemar test per arm, corrected over both halves (Holm).

    Raises UsageError if a run was not evaluated, if the runs have no task in common, or if their figures cannot be compared because
    the settings of the evaluation or of the test runner differ, or the hidden checks of a shared task.
    """
    runs = (first, second)
    own, bugs = [_played(run) for run in runs], [read_bugs(run) for run in runs]
    shared = _shared(own)
    pairs = [(own, shared)]
    if bugs[0] and bugs[1]:
        given = [bugs[0], bugs[1]]
        pairs.append((given, _shared(given)))
    _refuse_incomparable(runs, pairs)
    halves = [HalfCompared(tasks, tuple(_rows(played, tasks))) for played, tasks in pairs if tasks]
    corrected = iter(holm([row.p for half in halves for row in half.rows]))
    halves = [replace(half, rows=tuple(replace(row, p_holm=next(corrected)) for row in half.rows)) for half in halves]
    return Comparison(
        shared,
        halves[0].rows,
        (str(first.path), str(second.path)),
        _differences(first, second),
        halves[1] if len(halves) > 1 else None,
    )


def _shared(played: list[Played]) -> tuple[str, ...]:
    return tuple(id_ for id_ in played[0].figures if id_ in played[1].figures)


def _rows(played: list[Played], tasks: tuple[str, ...]) -> list[Row]:
    names = [name for name in _arms(played[0]) if name in _arms(played[1])]
    solved = {name: [half.solved[name] & set(tasks) for half in played] for name in names}
    return [_row(name, first, second, tasks) for name, (first, second) in solved.items()]


def _played(run: StoredRun) -> Played:
    played = read_own_failures(run)
    if played is None:
        raise UsageError(
            f"{run.path} was not evaluated, or its evaluation is not finished",
            hint=f"mlx-selfdebug eval --run {run.path}",
        )
    return played


def _refuse_incomparable(
    runs: tuple[StoredRun, StoredRun], halves: Sequence[tuple[list[Played], tuple[str, ...]]]
) -> None:
    """Raise a UsageError that names everything that does not match."""
    first, second = runs
    if not halves[0][1]:
        raise UsageError(f"{first.path} and {second.path} have no evaluation task in common")
    problems = [
        f"{key}: {get(first.config, key)!r} and {get(second.config, key)!r}"
        for key in MUST_MATCH
        if get(first.config, key) != get(second.config, key)
    ]
    problems += [
        f"{id_}: {a.figures[id_].n_checks} and {b.figures[id_].n_checks} hidden checks"
        for (a, b), shared in halves
        for id_ in shared
        if a.figures[id_].n_checks != b.figures[id_].n_checks
    ]
    if problems:
        raise UsageError(
            f"{first.path} and {second.path} cannot be compared because they were evaluated differently:\n  "
            + "\n  ".join(problems),
            hint="evaluate both runs with the same settings",
        )


def _differences(first: StoredRun, second: StoredRun) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which the runs differ, and the weights if they began with different ones."""
    origins = tuple(run.facts().model for run in (first, second))
    weights = {"weights": origins} if origins[0] != origins[1] else {}
    pairs = {key: (get(first.config, key), get(second.config, key)) for key in SETTINGS}
    return {**weights, **{key: pair for key, pair in pairs.items() if pair[0] != pair[1]}}


def _arms(played: Played) -> list[ArmKey]:
    """Return the arms of base and adapter; the names of other adapters mean something in their own run only.

    In the half of the bugs the first drafts are left out, since they are the bugs and no model drafted them.
    """
    arms = [(model, arm) for model in (BASE, ADAPTER) for arm in played.models.get(model, {})]
    return [ArmKey(model, arm) for model, arm in arms if not (played.origins and arm == FIRST)]


def _row(name: str, first: Set[str], second: Set[str], tasks: tuple[str, ...]) -> Row:
    only_first, only_second = len(first - second), len(second - first)
    p = mcnemar(only_second, only_first)
    return Row(name, (len(first), len(second)), only_first, only_second, p, p, difference(second, first, tasks))
