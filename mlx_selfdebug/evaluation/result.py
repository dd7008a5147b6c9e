"""What an evaluation found: values and their arithmetic, no model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlx_selfdebug.repair.attempt import Attempt


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


@dataclass(frozen=True)
class Result:
    """Base and adapter on the same tasks, scored on hidden checks, repairs fed from public checks alone."""

    tasks: tuple[str, ...]
    base: ArmResult
    adapter: ArmResult

    def to_dict(self) -> dict[str, Any]:
        return {"base": asdict(self.base), "adapter": asdict(self.adapter)}

    def __str__(self) -> str:
        from mlx_selfdebug.reporting.table import result_table

        return result_table(self)


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
