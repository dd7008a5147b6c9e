"""What an evaluation found: values and their arithmetic, no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from html import escape
from textwrap import fill
from typing import Any

from mlx_selfdebug.columns import columns
from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, answer
from mlx_selfdebug.evaluation.contrasts import Contrast, Solved, contrasts
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.hard import pass_rates
from mlx_selfdebug.evaluation.played import (
    ADAPTER,
    BASE,
    BUGS,
    OWN,
    ByArm,
    Played,
    read_bugs,
    read_gate,
    read_gate_bugs,
    read_played,
)
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.searching import Searching, searching_in
from mlx_selfdebug.notebook import frame, table
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.values.attempt import Attempt

TEXT_WIDTH = 80
HEADS = {
    (OWN, "problems"): "problems solved",
    (OWN, "checks"): "checks passed",
    (BUGS, "problems"): "bugs repaired",
    (BUGS, "checks"): "checks passed, bugs",
}
HARD_HEADS = {OWN: "hard problems solved", BUGS: "bugs of hard tasks"}
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

    ``solved`` holds, by arm ("first" among them), the tasks whose answer is right. Of bugs the first drafts are the bugs.
    """

    first_pass: Score
    after_repair: Score
    arms: Mapping[str, Score] = field(default_factory=dict)
    solved: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def score_of(self, arm: str) -> Score | None:
        return self.first_pass if arm == FIRST else self.arms.get(arm)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelResult:
        first, after = (Score.from_dict(data[name]) for name in ("first_pass", "after_repair"))
        arms = {name: Score.from_dict(score) for name, score in data.get("arms", {}).items()}
        return cls(first, after, arms, data.get("solved", {}))


@dataclass(frozen=True)
class Half:
    """Base and adapter on the same problems, scored on hidden checks, feedback from public checks alone. ``others`` by name.

    ``hard``: problems of which none of several drafts of the base is right, None where that was not looked for. ``operators``: of
    bugs, what made each.
    """

    base: ModelResult
    adapter: ModelResult
    others: Mapping[str, ModelResult] = field(default_factory=dict, kw_only=True)
    hard: Sequence[str] | None = field(default=None, kw_only=True)
    operators: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Half:
        return Half(**_half(data))

    @property
    def models(self) -> dict[str, ModelResult]:
        """By name: base, adapter, then the others."""
        return {BASE: self.base, ADAPTER: self.adapter, **self.others}

    @property
    def n(self) -> int:
        return self.base.first_pass.problems[1]

    @property
    def by_arm(self) -> dict[str, Sequence[str]]:
        """By "model/arm" the problems whose answer is right."""
        return {f"{name}/{arm}": ids for name, found in self.models.items() for arm, ids in found.solved.items()}

    @property
    def primary(self) -> Primary | None:
        """None where an arm it takes was not played."""
        if not {BLIND, REPAIR} <= self.base.solved.keys() & self.adapter.solved.keys():
            return None
        return Primary.of(self.adapter.solved[REPAIR], self.base.solved[BLIND], self.adapter.solved[BLIND], self.n)

    def scores(self) -> Iterator[tuple[str, str, Score]]:
        """Model, arm and score, first drafts first."""
        for name, found in self.models.items():
            yield name, FIRST, found.first_pass
            for arm, given in found.arms.items():
                yield name, arm, given

    def table(self, head: str, cell: Callable[[ModelResult, str], str], *, first: bool = True) -> list[list[str]]:
        """Rows of text, a column a model; ``cell`` gets a model and an arm."""
        models = self.models
        rows = [[head, *models]]
        if first:
            rows.append(["first draft", *(cell(found, FIRST) for found in models.values())])
        return rows + [[f"then {arm}", *(cell(found, arm) for found in models.values())] for arm in self.base.arms]

    def hard_cell(self, found: ModelResult, arm: str) -> str:
        """Of the hard problems, those that an arm solves."""
        hard = set(self.hard or ())
        return f"{len(hard.intersection(found.solved[arm]))}/{len(hard)}" if arm in found.solved else "-"


def _half(data: Mapping[str, Any]) -> dict[str, Any]:
    base, adapter = (ModelResult.from_dict(data[name]) for name in (BASE, ADAPTER))
    others = {name: ModelResult.from_dict(found) for name, found in data.get("others", {}).items()}
    more = {"hard": data.get("hard"), "operators": data.get("operators", {})}
    return {"base": base, "adapter": adapter, "others": others, **more}


@dataclass(frozen=True)
class Result(Half):
    """An evaluation: what becomes of the models' own failures, and in ``bugs`` of bugs that all begin with, None where none were.

    ``tokens``: what an arm may generate for a task, its first draft included.
    """

    tokens: int
    gate: Gate | None = None
    bugs: Half | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        gate = Gate.from_dict(data["gate"]) if data.get("gate") else None
        bugs = Half.from_dict(data["bugs"]) if data.get("bugs") else None
        return Result(**_half(data), tokens=data.get("tokens", 0), gate=gate, bugs=bugs)

    def to_dict(self) -> dict[str, Any]:
        """With what follows from the rest: verdicts of the gate, of the primary contrast and of searching, in each half."""
        data = {**asdict(self), "gate": self.gate.to_dict() if self.gate else None, **self._verdicts(OWN)}
        if self.bugs:
            data["bugs"] |= self._verdicts(BUGS)
        return data

    def _verdicts(self, name: str) -> dict[str, Any]:
        primary = self.halves[name].primary
        found = {one.model: one.verdict for one in self.searching(name)}
        return {"primary": primary.verdict if primary else None, "searching": found}

    @property
    def halves(self) -> dict[str, Half]:
        """Those that were played, by name: "own failures", "bugs"."""
        return {OWN: self, **({BUGS: self.bugs} if self.bugs else {})}

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The declared ones of both halves, corrected together."""
        found = [Solved(name, half.by_arm, half.n, list(half.models)) for name, half in self.halves.items() if half.n]
        return tuple(contrasts(found))

    def searching(self, half: str = OWN) -> tuple[Searching, ...]:
        """Whether searching first is better than trying again at once, one a model that played both."""
        solved = {name: len(ids) for name, ids in self.halves[half].by_arm.items()}
        return searching_in(self.contrasts, half, solved)

    @property
    def said(self) -> list[str]:
        """The findings in sentences: of own failures, of bugs, and the gate's."""
        own = [str(self.primary or NOT_COMPARED), *map(str, self.searching(OWN))]
        bugs = [*([self.bugs.primary] if self.bugs.primary else []), *self.searching(BUGS)] if self.bugs else []
        return [*own, *(on_bugs(str(one)) for one in bugs), *([str(self.gate)] if self.gate else [])]

    def to_records(self) -> list[dict[str, Any]]:
        """Flat, one a half, model and arm; of bugs there are no first drafts."""
        return [
            {
                "half": name,
                "model": model,
                "arm": arm,
                "problems_solved": score.problems[0],
                "problems": score.problems[1],
                "checks_passed": score.checks[0],
                "checks": score.checks[1],
            }
            for name, half in self.halves.items()
            for model, arm, score in half.scores()
            if not (name == BUGS and arm == FIRST)
        ]

    def to_frame(self) -> Any:
        """A pandas frame, one row a half, model and arm. Raises UsageError where pandas is missing."""
        return frame(self.to_records())

    def _repr_html_(self) -> str:
        return table(self.to_records()) + "".join(f"<p>{escape(text)}</p>" for text in self.said)

    def __str__(self) -> str:
        """The tables: every arm of every model, in both units, for each half; then what they show."""
        tables = [self._table(name, unit) for name in self.halves for unit in ("problems", "checks")]
        tables += [self._hard_table(name) for name, half in self.halves.items() if half.hard]
        title = [f"at most {self.tokens} tokens a task, first draft included"] if self.base.arms else []
        return "\n\n".join([*tables, *(fill(text, TEXT_WIDTH) for text in [*title, *self.said])])

    def _table(self, name: str, unit: str) -> str:
        head = HEADS[name, unit]
        rows = self.halves[name].table(head, lambda found, arm: _cell(found.score_of(arm), unit), first=name == OWN)
        return columns(rows, right=range(1, len(rows[0])))

    def _hard_table(self, name: str) -> str:
        half = self.halves[name]
        rows = half.table(HARD_HEADS[name], half.hard_cell, first=name == OWN)
        return columns(rows, right=range(1, len(rows[0])))


def on_bugs(text: str) -> str:
    """A sentence that is said of the second half."""
    return f"On bugs, {text[:1].lower()}{text[1:]}"


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
    if played is None:
        return None
    rates, bugs = pass_rates(run), read_bugs(run)
    return replace(
        Result(**_scored(played, rates), tokens=played.tokens),
        bugs=Half(**_scored(bugs, rates)) if bugs else None,
        gate=_read_gate(run),
    )


def _read_gate(run: StoredRun) -> Gate | None:
    own, bugs = read_gate(run), read_gate_bugs(run)
    if own is None:
        return None
    half = Half(**_scored(own, {}))
    first = half.base.first_pass.problems[0], half.adapter.first_pass.problems[0]
    repaired, n = _repaired(half)
    return Gate(first, repaired, n, *(_repaired(Half(**_scored(bugs, {}))) if bugs else ()))


def _repaired(half: Half) -> tuple[tuple[int, int], int]:
    """Problems right after repair, (base, adapter), and how many there are."""
    (base, n), (adapter, _) = half.base.after_repair.problems, half.adapter.after_repair.problems
    return (base, adapter), n


def _scored(played: Played, rates: Mapping[str, float]) -> dict[str, Any]:
    """The fields of a ``Half``."""
    scored = {name: score_model(arms, played.figures, played.tokens) for name, arms in played.models.items()}
    rated = {id_: rates[task] for id_ in played.figures if (task := played.origins.get(id_, id_)) in rates}
    return {
        "base": scored.pop(BASE),
        "adapter": scored.pop(ADAPTER),
        "others": scored,
        "hard": sorted(id_ for id_, rate in rated.items() if not rate) if rated else None,
        "operators": played.operators,
    }
