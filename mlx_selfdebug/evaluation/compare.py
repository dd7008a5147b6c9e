"""Two runs' evaluations side by side, paired on the tasks they share; refused, by name, where the figures mean different things.

>>> with open_stored("runs/a") as a, open_stored("runs/b") as b:                        # doctest: +SKIP
...     print(compare(a, b))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlx_selfdebug.columns import columns
from mlx_selfdebug.config import SETTINGS, get
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.arms import FIRST, answer
from mlx_selfdebug.evaluation.contrasts import difference
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, Played, read_bugs, read_played
from mlx_selfdebug.evaluation.statistics import Interval, holm, mcnemar
from mlx_selfdebug.store import StoredRun

SAME = (
    "eval.tokens",
    "eval.forks",
    "eval.temperature",
    "eval.min_p",
    "eval.max_tokens",
    "sandbox.wall_s",
    "sandbox.cpu_s",
    "sandbox.memory_mb",
)
"""Settings without which figures of two runs are apples and oranges."""


@dataclass(frozen=True)
class Row:
    """One arm of one model in both runs: problems each solves of the shared ones, and those that only one solves."""

    arm: str
    solved: tuple[int, int]
    only_first: int
    only_second: int
    p: float
    p_holm: float
    interval: Interval


@dataclass(frozen=True)
class HalfCompared:
    """Of ``tasks`` that both runs have in one half: own failures, or bugs."""

    tasks: tuple[str, ...]
    rows: tuple[Row, ...]

    def table(self) -> str:
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
    """Of ``runs``. ``differences`` are settings that explain what is seen; ``bugs`` is None where the runs share none."""

    runs: tuple[str, str]
    differences: Mapping[str, tuple[Any, Any]]
    bugs: HalfCompared | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        first, second = self.runs
        head = f"A: {first}\nB: {second}\nproblems solved of the {len(self.tasks)} that both were evaluated on"
        parts = [head, self.table()]
        if self.bugs:
            parts += [f"bugs repaired of the {len(self.bugs.tasks)} that both were given", self.bugs.table()]
        other = [f"{key}: A has {a!r}, B {b!r}" for key, (a, b) in self.differences.items()]
        return "\n\n".join(part for part in (*parts, "\n".join(other)) if part)


def compare(first: StoredRun, second: StoredRun) -> Comparison:
    """The arms that both have played, McNemar's exact test on each, corrected for their number in both halves (Holm).

    Raises UsageError if one was not evaluated, they share no task, or their figures cannot be set side by side: other settings of
    the evaluation or of the test runner, other hidden checks of the same task.
    """
    runs = (first, second)
    own, bugs = [_played(run) for run in runs], [read_bugs(run) for run in runs]
    shared = _shared(own)
    pairs = [(own, shared)]
    if bugs[0] and bugs[1]:
        both = [bugs[0], bugs[1]]
        pairs.append((both, _shared(both)))
    _refuse_oranges(runs, pairs)
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
    solved = {name: [_solved(one, name) & set(tasks) for one in played] for name in names}
    return [_row(name, first, second, tasks) for name, (first, second) in solved.items()]


def _played(run: StoredRun) -> Played:
    played = read_played(run)
    if played is None:
        raise UsageError(
            f"{run.path} was not evaluated, or not to the end", hint=f"mlx-selfdebug eval --run {run.path}"
        )
    return played


def _refuse_oranges(runs: tuple[StoredRun, StoredRun], halves: Sequence[tuple[list[Played], tuple[str, ...]]]) -> None:
    """Raises UsageError naming everything that does not match."""
    first, second = runs
    if not halves[0][1]:
        raise UsageError(f"{first.path} and {second.path} share no evaluation task")
    problems = [
        f"{key}: {get(first.config, key)!r} and {get(second.config, key)!r}"
        for key in SAME
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
            f"{first.path} and {second.path} cannot be compared, they were evaluated differently:\n  "
            + "\n  ".join(problems),
            hint="evaluate both with the same settings",
        )


def _differences(first: StoredRun, second: StoredRun) -> dict[str, tuple[Any, Any]]:
    """Other settings in which the runs differ, and the weights they began with."""
    origins = tuple(run.environment().get("model") for run in (first, second))
    found = {"weights": origins} if origins[0] != origins[1] else {}
    pairs = {key: (get(first.config, key), get(second.config, key)) for key in SETTINGS}
    return {**found, **{key: pair for key, pair in pairs.items() if pair[0] != pair[1]}}


def _arms(played: Played) -> list[str]:
    """Of base and adapter; other adapters are the run's own affair. Bugs were drafted by none."""
    arms = [(model, arm) for model in (BASE, ADAPTER) for arm in played.models.get(model, {})]
    return [f"{model}/{arm}" for model, arm in arms if not (played.origins and arm == FIRST)]


def _solved(played: Played, name: str) -> set[str]:
    model, _, arm = name.partition("/")
    made = played.models[model][arm]
    return {id_ for id_, attempts in made.items() if answer(attempts, played.tokens).passed}


def _row(name: str, first: set[str], second: set[str], tasks: tuple[str, ...]) -> Row:
    only_first, only_second = len(first - second), len(second - first)
    p = mcnemar(only_second, only_first)
    return Row(name, (len(first), len(second)), only_first, only_second, p, p, difference(second, first, tasks))
