"""What an evaluation found: values and their arithmetic, no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from textwrap import fill
from typing import Any

from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, answer
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, ByArm, Played, read_gate, read_played
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.notebook import frame, table
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.reporting.columns import columns
from mlx_selfdebug.store import StoredRun

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

    ``tokens``: what an arm may generate for a task, its first draft included. ``others``: further adapters by name.
    """

    base: ModelResult
    adapter: ModelResult
    tokens: int
    gate: Gate | None = None
    others: Mapping[str, ModelResult] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        gate = Gate.from_dict(data["gate"]) if data.get("gate") else None
        base, adapter = (ModelResult.from_dict(data[name]) for name in (BASE, ADAPTER))
        others = {name: ModelResult.from_dict(found) for name, found in data.get("others", {}).items()}
        return cls(base, adapter, data.get("tokens", 0), gate, others)

    @property
    def models(self) -> dict[str, ModelResult]:
        """By name: base, adapter, then the others."""
        return {BASE: self.base, ADAPTER: self.adapter, **self.others}

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

    def to_records(self) -> list[dict[str, Any]]:
        """Flat, one a model and arm."""
        arms = [(name, arm, score) for name, found in self.models.items() for arm, score in _arms(found)]
        return [
            {
                "model": model,
                "arm": arm,
                "problems_solved": score.problems[0],
                "problems": score.problems[1],
                "checks_passed": score.checks[0],
                "checks": score.checks[1],
            }
            for model, arm, score in arms
        ]

    def to_frame(self) -> Any:
        """A pandas frame, one row a model and arm. Raises UsageError where pandas is missing."""
        return frame(self.to_records())

    def _repr_html_(self) -> str:
        said = [str(part) for part in (self.primary or NOT_COMPARED, self.gate) if part]
        return table(self.to_records()) + "".join(f"<p>{escape(text)}</p>" for text in said)

    def __str__(self) -> str:
        """The table: every arm of every model, in both units."""
        models = self.models
        title = f"at most {self.tokens} tokens a task, first draft included" if self.base.arms else ""
        tables = [self._table(unit, models) for unit in ("problems", "checks")]
        said = (fill(str(part), TEXT_WIDTH) for part in (title, self.primary or NOT_COMPARED, self.gate or ""))
        return "\n\n".join([*tables, *filter(None, said)])

    def _table(self, unit: str, models: Mapping[str, ModelResult]) -> str:
        head = {"problems": "problems solved", "checks": "checks passed"}[unit]
        rows = [[head, *models]]
        rows.append(["first draft", *(_cell(found.first_pass, unit) for found in models.values())])
        rows += [
            [f"then {arm}", *(_cell(found.arms.get(arm), unit) for found in models.values())] for arm in self.base.arms
        ]
        return columns(rows, right=range(1, len(models) + 1))


def _arms(found: ModelResult) -> list[tuple[str, Score]]:
    return [(FIRST, found.first_pass), *found.arms.items()]


def _cell(score: Score | None, unit: str) -> str:
    if score is None:
        return "-"
    part, whole = score.problems if unit == "problems" else score.checks
    return f"{part}/{whole}"


def score_model(arms: ByArm, figures: Mapping[str, TaskFigures], tokens: int) -> ModelResult:
    """Each arm's answers within ``tokens`` a task."""
    given = {arm: [answer(attempts, tokens) for attempts in made.values()] for arm, made in arms.items()}
    scores = {arm: score(answers, figures) for arm, answers in given.items()}
    solved = {arm: sorted(a.task_id for a in answers if a.passed) for arm, answers in given.items()}
    after = {arm: found for arm, found in scores.items() if arm != FIRST}
    return ModelResult(scores[FIRST], scores.get(REPAIR, scores[FIRST]), after, solved)


def score(answers: Iterable[Attempt], figures: Mapping[str, TaskFigures]) -> Score:
    """Of one answer a task. A check of a task without a whole answer counts as failed."""
    given = list(answers)
    solved = sum(a.passed for a in given)
    passed = sum(_passed_checks(a, figures[a.task_id].n_checks) for a in given)
    return Score((solved, len(figures)), (passed, sum(task.n_checks for task in figures.values())))


def _passed_checks(attempt: Attempt, n_checks: int) -> int:
    return n_checks if attempt.passed else min(attempt.verdict.n_passed, n_checks)


def read_result(run: StoredRun) -> Result | None:
    """What a run's evaluation found, from its records; None where none was finished."""
    played = read_played(run)
    return result_of(played, read_gate(run)) if played else None


def result_of(played: Played, gate: Played | None) -> Result:
    """``gate``: what base and adapter made of the tasks held back from training."""
    scored = {name: score_model(arms, played.figures, played.tokens) for name, arms in played.models.items()}
    others = {name: found for name, found in scored.items() if name not in (BASE, ADAPTER)}
    return Result(scored[BASE], scored[ADAPTER], played.tokens, _gate(gate) if gate else None, others)


def _gate(played: Played) -> Gate:
    return Gate.of(*(score_model(played.models[name], played.figures, played.tokens) for name in (BASE, ADAPTER)))
