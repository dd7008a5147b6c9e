"""What an evaluation found: values and their arithmetic, no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import Any

from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, answer
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.reporting.columns import columns

TEXT_WIDTH = 80
NOT_COMPARED = "Not shown: whether repairing beats trying again; that takes the arms blind and facts."


@dataclass(frozen=True)
class Score:
    """Both units, always: a problem is solved when all its hidden checks pass; checks are counted one by one."""

    problems: tuple[int, int]
    checks: tuple[int, int]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        return cls(tuple(data["problems"]), tuple(data["checks"]))


@dataclass(frozen=True)
class ModelResult:
    """One model on the set: its first drafts, the answers after repair with facts, and those of every arm at equal tokens.

    ``solved`` holds, by arm ("first" among them), the tasks whose answer is right.
    """

    first_pass: Score
    after_repair: Score
    arms: Mapping[str, Score] = field(default_factory=dict)
    solved: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelResult:
        first, after = (Score.from_dict(data[name]) for name in ("first_pass", "after_repair"))
        arms = {name: Score.from_dict(score) for name, score in data.get("arms", {}).items()}
        return cls(first, after, arms, data.get("solved", {}))


@dataclass(frozen=True)
class Result:
    """Base and adapter on the same tasks, scored on hidden checks, feedback from public checks alone.

    ``tokens``: what an arm may generate for a task, its first draft included.
    """

    base: ModelResult
    adapter: ModelResult
    tokens: int
    gate: Gate | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        gate = Gate.from_dict(data["gate"]) if data.get("gate") else None
        return cls(
            ModelResult.from_dict(data["base"]), ModelResult.from_dict(data["adapter"]), data.get("tokens", 0), gate
        )

    def to_dict(self) -> dict[str, Any]:
        """With what follows from the rest: the gate's and the primary contrast's verdicts."""
        verdict = self.primary.verdict if self.primary else None
        return {**asdict(self), "gate": self.gate.to_dict() if self.gate else None, "primary": verdict}

    @property
    def primary(self) -> Primary | None:
        """None where an arm it takes was not played."""
        if not {BLIND, REPAIR} <= self.base.solved.keys() & self.adapter.solved.keys():
            return None
        n = self.base.first_pass.problems[1]
        return Primary.of(self.adapter.solved[REPAIR], self.base.solved[BLIND], self.adapter.solved[BLIND], n)

    def __str__(self) -> str:
        """The table: every arm of both models, in both units."""
        rows = [["", "problems solved", "", "checks passed", ""], ["", "base", "adapter", "base", "adapter"]]
        rows.append(["first draft", *_cells(self.base.first_pass, self.adapter.first_pass)])
        for name, score in self.base.arms.items():
            rows.append([f"then {name}", *_cells(score, self.adapter.arms[name])])
        title = f"at most {self.tokens} tokens a task, first draft included" if self.base.arms else ""
        said = (fill(str(part), TEXT_WIDTH) for part in (title, self.primary or NOT_COMPARED, self.gate or ""))
        return "\n\n".join([columns(rows, right=(1, 2, 3, 4)), *filter(None, said)])


def _cells(base: Score, adapter: Score) -> list[str]:
    counts = (base.problems, adapter.problems, base.checks, adapter.checks)
    return [f"{part}/{whole}" for part, whole in counts]


def score_model(attempts: Mapping[str, Sequence[Attempt]], n_checks: Mapping[str, int], tokens: int) -> ModelResult:
    """``attempts`` by arm; ``n_checks``: hidden checks a task, the same for every arm."""
    answers = {arm: _answers(made, tokens) for arm, made in attempts.items()}
    scores = {arm: score(given, n_checks) for arm, given in answers.items()}
    solved = {arm: sorted(a.task_id for a in given if a.passed) for arm, given in answers.items()}
    arms = {arm: found for arm, found in scores.items() if arm != FIRST}
    return ModelResult(scores[FIRST], scores.get(REPAIR, scores[FIRST]), arms, solved)


def _answers(attempts: Sequence[Attempt], tokens: int) -> list[Attempt]:
    by_task: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_task.setdefault(attempt.task_id, []).append(attempt)
    return [answer(made, tokens) for made in by_task.values()]


def score(answers: Iterable[Attempt], n_checks: Mapping[str, int]) -> Score:
    """Of one answer a task. A check of a task without a whole answer counts as failed."""
    given = list(answers)
    solved = sum(a.passed for a in given)
    passed = sum(n_checks[a.task_id] if a.passed else min(a.verdict.n_passed, n_checks[a.task_id]) for a in given)
    return Score((solved, len(n_checks)), (passed, sum(n_checks.values())))
