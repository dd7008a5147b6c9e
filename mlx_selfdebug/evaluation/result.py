"""Hold what an evaluation found, and read it from a run's records; no model is needed.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     print(read_result(run))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from textwrap import fill
from typing import Any

from mlx_selfdebug.columns import columns
from mlx_selfdebug.evaluation.arms import BLIND, FIRST, REPAIR, ArmKey
from mlx_selfdebug.evaluation.contrasts import Contrast, Solved, contrasts
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.hard import pass_rates
from mlx_selfdebug.evaluation.played import (
    ADAPTER,
    BASE,
    BUGS,
    OWN,
    Played,
    read_bugs,
    read_gate,
    read_gate_bugs,
    read_own_failures,
)
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.searching import Searching, searching_in
from mlx_selfdebug.notebook import frame, table
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.values.attempt import Attempt

TEXT_WIDTH = 80
"""The width of the printed sentences, in characters."""
HEADS = {
    (OWN, "problems"): "problems solved",
    (OWN, "checks"): "checks passed",
    (BUGS, "problems"): "bugs repaired",
    (BUGS, "checks"): "checks passed, bugs",
}
HARD_HEADS = {OWN: "hard problems solved", BUGS: "bugs of hard tasks"}
NOT_COMPARED = "Repairing was not compared with resampling: the comparison needs the arms blind and facts."


@dataclass(frozen=True)
class Score:
    """A score in both units; a problem is solved when all of its hidden checks pass."""

    problems: tuple[int, int]
    """Problems solved, and all problems."""
    checks: tuple[int, int]
    """Hidden checks passed, and all hidden checks."""


@dataclass(frozen=True)
class ModelResult:
    """The scores of one model on one half of the evaluation."""

    first_pass: Score
    """The score of the first drafts; in the half of the bugs, of the bugs themselves."""
    after_repair: Score
    """The score of the answers after repair with facts."""
    arms: Mapping[str, Score] = field(default_factory=dict)
    """The score of every arm's answers, at equal tokens."""
    solved: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids of the tasks whose answer is right, by arm; "first" is among the arms."""

    @property
    def scores(self) -> dict[str, Score]:
        """The score of the first drafts, under "first", then that of every arm."""
        return {FIRST: self.first_pass, **self.arms}


@dataclass(frozen=True)
class Half:
    """One half of an evaluation: all models on the same problems, with feedback from public checks and scores on hidden ones."""

    base: ModelResult
    adapter: ModelResult
    others: Mapping[str, ModelResult] = field(default_factory=dict, kw_only=True)
    """The results of other adapters, by name."""
    hard: Sequence[str] | None = field(default=None, kw_only=True)
    """Problems of which none of several drafts of the base is right; None where this was not looked for."""
    operators: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """The operator that made each bug, by the bug's id."""

    @property
    def models(self) -> dict[str, ModelResult]:
        """The results by the models' names: base, adapter, then the others."""
        return {BASE: self.base, ADAPTER: self.adapter, **self.others}

    @property
    def n(self) -> int:
        """The number of problems."""
        return self.base.first_pass.problems[1]

    @property
    def by_arm(self) -> dict[str, Sequence[str]]:
        """Ids of the problems whose answer is right, by "model/arm"."""
        return {ArmKey(name, arm): ids for name, model in self.models.items() for arm, ids in model.solved.items()}

    @property
    def primary(self) -> Primary | None:
        """The contrast that training is judged by; None where an arm that it needs was not played."""
        if not {BLIND, REPAIR} <= self.base.solved.keys() & self.adapter.solved.keys():
            return None
        return Primary.of(self.adapter.solved[REPAIR], self.base.solved[BLIND], self.adapter.solved[BLIND], self.n)

    def scores(self) -> Iterator[tuple[str, str, Score]]:
        """Yield model, arm and score, beginning with the first drafts of each model."""
        for name, model in self.models.items():
            for arm, arm_score in model.scores.items():
                yield name, arm, arm_score

    def table(self, head: str, cell: Callable[[ModelResult, str], str], *, first: bool = True) -> list[list[str]]:
        """Return rows of text with one column per model and one row per arm. ``cell`` makes a cell from a model and an arm.

        ``first`` adds a row for the first drafts.
        """
        models = self.models
        rows = [[head, *models]]
        if first:
            rows.append(["first draft", *(cell(model, FIRST) for model in models.values())])
        return rows + [[f"then {arm}", *(cell(model, arm) for model in models.values())] for arm in self.base.arms]

    def hard_cell(self, model: ModelResult, arm: str) -> str:
        """Return the number of hard problems that an arm solves, of all hard problems, as text such as "2/7"."""
        hard = set(self.hard or ())
        return f"{len(hard.intersection(model.solved[arm]))}/{len(hard)}" if arm in model.solved else "-"


@dataclass(frozen=True)
class Result(Half):
    """The result of an evaluation: its own fields are the first half, the models' own failures."""

    tokens: int
    """How many tokens an arm may generate per task, its first draft included."""
    gate: Gate | None = None
    """Whether the adapter is recommended; None where no tasks were held back from training."""
    bugs: Half | None = None
    """The second half, in which all models begin with the same bugs; None where there were no bugs."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and the verdicts that follow from them: of the gate, the primary contrast and searching."""
        data = {**asdict(self), "gate": self.gate.to_dict() if self.gate else None, **self._verdicts(OWN)}
        if self.bugs:
            data["bugs"] |= self._verdicts(BUGS)
        return data

    def _verdicts(self, name: str) -> dict[str, Any]:
        primary = self.halves[name].primary
        searching = {contrast.model: contrast.verdict for contrast in self.searching(name)}
        return {"primary": primary.verdict if primary else None, "searching": searching}

    @property
    def halves(self) -> dict[str, Half]:
        """The halves that were played, by name: "own failures", "bugs"."""
        return {OWN: self, **({BUGS: self.bugs} if self.bugs else {})}

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The declared contrasts of both halves, whose p values are corrected together."""
        solved = [Solved(name, half.by_arm, half.n, list(half.models)) for name, half in self.halves.items() if half.n]
        return tuple(contrasts(solved))

    def searching(self, half: str = OWN) -> tuple[Searching, ...]:
        """Return the contrast that searching is judged by, for each model that played both of its arms in ``half``."""
        solved = {name: len(ids) for name, ids in self.halves[half].by_arm.items()}
        return searching_in(self.contrasts, half, solved)

    @property
    def said(self) -> list[str]:
        """The findings as sentences: those about own failures, those about bugs, and the gate's."""
        own = [str(self.primary or NOT_COMPARED), *map(str, self.searching(OWN))]
        bugs = [*([self.bugs.primary] if self.bugs.primary else []), *self.searching(BUGS)] if self.bugs else []
        return [*own, *(on_bugs(str(finding)) for finding in bugs), *([str(self.gate)] if self.gate else [])]

    def to_records(self) -> list[dict[str, Any]]:
        """Return flat rows, one per half, model and arm; in the half of the bugs there are no first drafts."""
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
        """Return a pandas data frame with one row per half, model and arm. Raises UsageError if pandas is not installed."""
        return frame(self.to_records())

    def _repr_html_(self) -> str:
        return table(self.to_records()) + "".join(f"<p>{escape(text)}</p>" for text in self.said)

    def __str__(self) -> str:
        """Return the tables of every arm of every model, in both units and for each half, and then the findings as sentences."""
        tables = [self._table(name, unit) for name in self.halves for unit in ("problems", "checks")]
        tables += [self._hard_table(name) for name, half in self.halves.items() if half.hard]
        title = [f"at most {self.tokens} generated tokens per task, first draft included"] if self.base.arms else []
        return "\n\n".join([*tables, *(fill(text, TEXT_WIDTH) for text in [*title, *self.said])])

    def _table(self, name: str, unit: str) -> str:
        head = HEADS[name, unit]
        rows = self.halves[name].table(head, lambda model, arm: _cell(model.scores.get(arm), unit), first=name == OWN)
        return columns(rows, right=range(1, len(rows[0])))

    def _hard_table(self, name: str) -> str:
        half = self.halves[name]
        rows = half.table(HARD_HEADS[name], half.hard_cell, first=name == OWN)
        return columns(rows, right=range(1, len(rows[0])))


def on_bugs(text: str) -> str:
    """Return ``text`` as a sentence about the second half: "On bugs, there is no evidence that ..."."""
    return f"On bugs, {text[:1].lower()}{text[1:]}"


def _cell(score: Score | None, unit: str) -> str:
    if score is None:
        return "-"
    part, whole = score.problems if unit == "problems" else score.checks
    return f"{part}/{whole}"


def score_model(played: Played, model: str) -> ModelResult:
    """Score the answers of every arm of ``model``."""
    keys = [ArmKey(model, arm) for arm in played.models[model]]
    scores = {key.arm: score(played.answers[key].values(), played.figures) for key in keys}
    solved = {key.arm: sorted(played.solved[key]) for key in keys}
    after = {arm: scored for arm, scored in scores.items() if arm != FIRST}
    return ModelResult(scores[FIRST], scores.get(REPAIR, scores[FIRST]), after, solved)


def score(answers: Iterable[Attempt], figures: Mapping[str, TaskFigures]) -> Score:
    """Score one answer per task. The checks of a task without an answer count as failed."""
    given = list(answers)
    solved = sum(a.passed for a in given)
    passed = sum(_passed_checks(a, figures[a.task_id].n_checks) for a in given)
    return Score((solved, len(figures)), (passed, sum(task.n_checks for task in figures.values())))


def _passed_checks(attempt: Attempt, n_checks: int) -> int:
    return n_checks if attempt.passed else min(attempt.verdict.n_passed, n_checks)


def read_result(run: StoredRun) -> Result | None:
    """Return the result of a run's evaluation, computed from its records; None where the evaluation is not finished."""
    own = read_own_failures(run)
    return result_of(run, own, read_bugs(run)) if own else None


def result_of(run: StoredRun, own: Played, bugs: Played | None) -> Result:
    """Return the result that follows from the attempts of both halves of a run's evaluation."""
    rates = pass_rates(run)
    return Result(
        **_scored(own, rates),
        tokens=own.tokens,
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
    """Return the problems that (base, adapter) solve after repair, and the number of all problems."""
    (base, n), (adapter, _) = half.base.after_repair.problems, half.adapter.after_repair.problems
    return (base, adapter), n


def _scored(played: Played, rates: Mapping[str, float]) -> dict[str, Any]:
    """Return the fields of a ``Half``."""
    scored = {name: score_model(played, name) for name in played.models}
    rated = {id_: rates[task] for id_ in played.figures if (task := played.origins.get(id_, id_)) in rates}
    return {
        "base": scored.pop(BASE),
        "adapter": scored.pop(ADAPTER),
        "others": scored,
        "hard": sorted(id_ for id_, rate in rated.items() if not rate) if rated else None,
        "operators": played.operators,
    }
