"""What an evaluation found: values and their arithmetic, no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.reporting.columns import columns

NOT_SHOWN = (
    "Not shown: whether this is learning. This version has no blind-resampling arm at\n"
    "equal tokens and no paired test; small differences on few problems are luck."
)


@dataclass(frozen=True)
class Score:
    """Both units, always: a problem is solved when all its hidden checks pass; checks are counted one by one."""

    problems: tuple[int, int]
    checks: tuple[int, int]


@dataclass(frozen=True)
class ArmResult:
    """One model on the set: its first completions, and after the rounds of repair."""

    first_pass: Score
    after_repair: Score

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArmResult:
        scores = (data["first_pass"], data["after_repair"])
        return cls(*(Score(tuple(score["problems"]), tuple(score["checks"])) for score in scores))


@dataclass(frozen=True)
class Result:
    """Base and adapter on the same tasks, scored on hidden checks, repairs fed from public checks alone."""

    base: ArmResult
    adapter: ArmResult

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """The table, and what it does not show."""
        rows = [["", "problems solved", "", "checks passed", ""]]
        rows += [["", "first pass", "after repair", "first pass", "after repair"]]
        rows += [[name, *_cells(arm)] for name, arm in (("base", self.base), ("adapter", self.adapter))]
        return columns(rows, right=(1, 2, 3, 4)) + "\n\n" + NOT_SHOWN


def _cells(arm: ArmResult) -> list[str]:
    first, after = arm.first_pass, arm.after_repair
    counts = (first.problems, after.problems, first.checks, after.checks)
    return [f"{part}/{whole}" for part, whole in counts]


def score_arm(attempts: Sequence[Attempt], n_checks: dict[str, int]) -> ArmResult:
    """``n_checks``: hidden checks a task, the same for every arm. A task's last attempt is its answer after repair."""
    first = {a.task_id: a for a in attempts if a.round == 0}
    last = {a.task_id: a for a in sorted(attempts, key=lambda a: a.round)}
    return ArmResult(_score(first.values(), n_checks), _score(last.values(), n_checks))


def _score(attempts: Iterable[Attempt], n_checks: dict[str, int]) -> Score:
    answers = list(attempts)
    solved = sum(a.passed for a in answers)
    passed = sum(n_checks[a.task_id] if a.passed else min(a.verdict.n_passed, n_checks[a.task_id]) for a in answers)
    return Score((solved, len(n_checks)), (passed, sum(n_checks.values())))
