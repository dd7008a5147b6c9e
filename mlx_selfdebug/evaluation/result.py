"""Define the result of an evaluation, and compute it from what a run has stored. No model is needed.

A :class:`Result` has a :class:`Half` for each half of the evaluation, with a :class:`ModelResult` for each model and a
:class:`Score` for each arm. Its properties test what is claimed: the primary contrast, the declared contrasts, and searching.

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
"""The title of each printed table, by half and unit."""
HARD_HEADS = {OWN: "hard problems solved", BUGS: "bugs of hard tasks"}
"""The title of the printed table of hard problems, by half."""
NOT_COMPARED = "Repairing was not compared with resampling: the comparison needs the arms blind and facts."


@dataclass(frozen=True)
class Score:
    """A score, counted in problems and in checks. A problem is solved if all of its hidden checks pass."""

    problems: tuple[int, int]
    """The number of problems solved, and the number of all problems."""
    checks: tuple[int, int]
    """The number of hidden checks passed, and the number of all hidden checks."""


@dataclass(frozen=True)
class ModelResult:
    """The scores of one model on one half of the evaluation."""

    first_pass: Score
    """The score of the first drafts or, in the half of the bugs, of the bugs themselves."""
    after_repair: Score
    """The score of the answers after repair with facts."""
    arms: Mapping[str, Score] = field(default_factory=dict)
    """The score of every arm's answers, at equal tokens."""
    solved: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids of the tasks whose answer is right, by arm. "first" is among the arms."""

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
    """Ids of the problems on which none of several drafts of the base is right; None if this was not looked for."""
    operators: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """The operator that made each bug, by the bug's id; empty in the half of own failures."""

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
        """The contrast by which training is judged; None if an arm that it needs was not played."""
        if not {BLIND, REPAIR} <= self.base.solved.keys() & self.adapter.solved.keys():
            return None
        return Primary.of(self.adapter.solved[REPAIR], self.base.solved[BLIND], self.adapter.solved[BLIND], self.n)

    def scores(self) -> Iterator[tuple[str, str, Score]]:
        """Yield the model, the arm and the score of every arm. The first drafts of a model come before its other arms."""
        for name, model in self.models.items():
            for arm, arm_score in model.scores.items():
                yield name, arm, arm_score

    def table(self, head: str, cell: Callable[[ModelResult, str], str], *, first: bool = True) -> list[list[str]]:
        """Return the rows of a text table, with one column per model and one row per arm.

        ``head`` is the title in the first cell, and ``cell`` returns the text of a cell from a model and an arm. If ``first`` is
        true, the first drafts have a row as well.
        """
        models = self.models
        rows = [[head, *models]]
        if first:
            rows.append(["first draft", *(cell(model, FIRST) for model in models.values())])
        rows += [[f"then {arm}", *(cell(model, arm) for model in models.values())] for arm in self.base.arms]
        return rows

    def hard_cell(self, model: ModelResult, arm: str) -> str:
        """Return how many of the hard problems an arm solves, as text such as "2/7"; "-" if the arm was not played."""
        if arm not in model.solved:
            return "-"
        hard = set(self.hard or ())
        return f"{len(hard.intersection(model.solved[arm]))}/{len(hard)}"


@dataclass(frozen=True)
class Result(Half):
    """The result of an evaluation. The inherited fields are those of the first half, the models' own failures."""

    tokens: int
    """How many tokens an arm may generate per task, its first draft included."""
    gate: Gate | None = None
    """The decision whether the adapter is recommended; None if no tasks were held back from training."""
    bugs: Half | None = None
    """The second half, in which all models begin with the same bugs; None if there were no bugs."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON, with the verdicts of the gate, the primary contrast and searching."""
        data = {**asdict(self), "gate": self.gate.to_dict() if self.gate else None, **self._verdicts(OWN)}
        if self.bugs:
            data["bugs"] |= self._verdicts(BUGS)
        return data

    def _verdicts(self, half: str) -> dict[str, str | dict[str, str] | None]:
        """Return the verdict on the primary contrast of a half, and on searching, by model."""
        primary = self.halves[half].primary
        searching = {contrast.model: contrast.verdict for contrast in self.searching(half)}
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
        """Return the contrast by which searching is judged, for each model that played both of its arms in ``half``."""
        solved = {name: len(ids) for name, ids in self.halves[half].by_arm.items()}
        return searching_in(self.contrasts, half, solved)

    @property
    def findings(self) -> list[str]:
        """The findings as sentences: those about own failures, those about bugs, and the recommendation of the gate."""
        findings = [str(self.primary or NOT_COMPARED), *map(str, self.searching(OWN))]
        if self.bugs:
            primary = [self.bugs.primary] if self.bugs.primary else []
            findings += [on_bugs(str(finding)) for finding in (*primary, *self.searching(BUGS))]
        if self.gate:
            findings.append(str(self.gate))
        return findings

    def to_records(self) -> list[dict[str, Any]]:
        """Return flat rows, one per half, model and arm. First drafts have no row in the half of the bugs."""
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
        return table(self.to_records()) + "".join(f"<p>{escape(text)}</p>" for text in self.findings)

    def __str__(self) -> str:
        """Return a table of all arms and models for each half and unit, and then the findings as sentences."""
        tables = [self._table(half, unit) for half in self.halves for unit in ("problems", "checks")]
        tables += [self._hard_table(name) for name, half in self.halves.items() if half.hard]
        note = [f"at most {self.tokens} generated tokens per task, first draft included"] if self.base.arms else []
        return "\n\n".join([*tables, *(fill(text, TEXT_WIDTH) for text in [*note, *self.findings])])

    def _table(self, half: str, unit: str) -> str:
        rows = self.halves[half].table(
            HEADS[half, unit], lambda model, arm: _cell(model.scores.get(arm), unit), first=half == OWN
        )
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


def read_result(run: StoredRun) -> Result | None:
    """Return the result of a run's evaluation, computed from its records, or None if the evaluation is not finished."""
    own = read_own_failures(run)
    return result_of(run, own, read_bugs(run)) if own else None


def result_of(run: StoredRun, own: Played, bugs: Played | None) -> Result:
    """Return the result that follows from the attempts of both halves of a run's evaluation."""
    rates = pass_rates(run)
    return Result(
        **vars(_score_half(own, rates)),
        tokens=own.tokens,
        bugs=_score_half(bugs, rates) if bugs else None,
        gate=_read_gate(run),
    )


def _read_gate(run: StoredRun) -> Gate | None:
    """Return the gate's decision, or None if no tasks were held back from training."""
    own, bugs = read_gate(run), read_gate_bugs(run)
    if own is None:
        return None
    half = _score_half(own, {})
    bug_half = _score_half(bugs, {}) if bugs else None
    return Gate(
        first=(half.base.first_pass.problems[0], half.adapter.first_pass.problems[0]),
        repaired=_solved_after_repair(half),
        n=half.n,
        bugs=_solved_after_repair(bug_half) if bug_half else (0, 0),
        n_bugs=bug_half.n if bug_half else 0,
    )


def _solved_after_repair(half: Half) -> tuple[int, int]:
    """Return the number of problems that (base, adapter) solve after repair with facts."""
    return half.base.after_repair.problems[0], half.adapter.after_repair.problems[0]


def _score_half(played: Played, rates: Mapping[str, float]) -> Half:
    """Score the answers of all models. ``rates`` gives the base's share of right drafts by task id, as far as it is known."""
    scored = {name: score_model(played, name) for name in played.models}
    return Half(
        base=scored.pop(BASE),
        adapter=scored.pop(ADAPTER),
        others=scored,
        hard=_hard_problems(played, rates),
        operators=played.operators,
    )


def _hard_problems(played: Played, rates: Mapping[str, float]) -> list[str] | None:
    """Return the ids of the problems on which no draft of the base is right, or None if no rate is known.

    A bug is as hard as the task that it was put into.
    """
    task_of = {id_: played.origins.get(id_, id_) for id_ in played.figures}
    known = [id_ for id_, task in task_of.items() if task in rates]
    return sorted(id_ for id_ in known if rates[task_of[id_]] == 0) if known else None


def score_model(played: Played, model: str) -> ModelResult:
    """Score the answers of every arm of ``model``."""
    keys = [ArmKey(model, arm) for arm in played.models[model]]
    scores = {key.arm: score(played.answers[key].values(), played.figures) for key in keys}
    return ModelResult(
        first_pass=scores[FIRST],
        after_repair=scores.get(REPAIR, scores[FIRST]),
        arms={arm: arm_score for arm, arm_score in scores.items() if arm != FIRST},
        solved={key.arm: sorted(played.solved[key]) for key in keys},
    )


def score(answers: Iterable[Attempt], figures: Mapping[str, TaskFigures]) -> Score:
    """Score one answer per task. ``figures`` has the figures of all tasks, and a task without an answer fails all its checks."""
    answers = list(answers)
    n_solved = sum(attempt.passed for attempt in answers)
    n_passed = sum(_n_passed_checks(attempt, figures[attempt.task_id].n_checks) for attempt in answers)
    return Score((n_solved, len(figures)), (n_passed, sum(task.n_checks for task in figures.values())))


def _n_passed_checks(attempt: Attempt, n_checks: int) -> int:
    return n_checks if attempt.passed else min(attempt.verdict.n_passed, n_checks)
