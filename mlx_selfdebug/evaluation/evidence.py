"""Compute everything that follows from an evaluation: figures per model and arm, the declared contrasts, and the regressions.

It reads what ``evaluate`` stored and needs no model, so the evidence of a run can be computed at any time.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     read_evidence(run).primary.verdict
'not shown'
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, ArmKey
from mlx_selfdebug.evaluation.contrasts import Contrast
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.metrics import (
    Codes,
    Point,
    Share,
    Transitions,
    by_group,
    by_length,
    error_kind,
    retries,
    solved_after,
    solved_by_tokens,
    transitions,
    wrong_accepted,
)
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, BUGS, OWN, Played, read_bugs, read_own_failures
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.result import ModelResult, Result, Score, result_of
from mlx_selfdebug.evaluation.searching import Searching
from mlx_selfdebug.evaluation.statistics import Interval, smallest_gain, wilson
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.values.attempt import Attempt


@dataclass(frozen=True)
class ArmEvidence:
    """The figures of one arm of one model in one half of the evaluation."""

    model: str
    """The model's name: "base", "adapter", or that of another adapter."""
    arm: str
    """The arm's name; "first" for the greedy drafts that the model's other arms begin with."""
    score: Score
    interval: Interval
    """The 95 % interval of the share of problems solved (Wilson)."""
    curve: tuple[Point, ...]
    """Problems solved against the generated tokens that each task may take."""
    after: tuple[int, ...]
    """Problems solved after 1, 2, ... attempts per task."""
    transitions: Transitions
    """How many problems went from right or wrong in the first draft to right or wrong in the answer."""
    wrong_accepted: Share
    """Of the answers that pass the public checks, those that fail a hidden one."""
    copies: Share
    """Of the retries, those that returned the previous code, unchanged apart from its layout."""
    edit_tokens: float | None
    """The median number of lexical tokens that the other retries changed; None where there are none."""
    by_error: Mapping[str, Share]
    """Problems solved per kind of failure of the first draft."""
    by_size: Mapping[str, Share]
    """Problems solved per third of the reference's length: "short", "middle", "long"."""
    by_operator: Mapping[str, Share]
    """Bugs repaired per operator that made them; empty in the half of own failures."""
    hard: Share | None
    """Hard problems solved; None where it is not known which problems are hard."""
    n_attempts: int
    """Attempts that the model made; programs that it was given are not counted."""
    n_tokens: int
    """Generated tokens, those of the first drafts included."""
    n_read_tokens: int
    """Tokens of failed programs that the model read in order to search them."""
    n_tries: int
    """Edits that were run."""

    @property
    def name(self) -> str:
        return ArmKey(self.model, self.arm)


@dataclass(frozen=True)
class Regression:
    """A problem whose answer was right before and is wrong after."""

    kind: str
    """Which two answers are compared, such as "the adapter's first draft, the adapter after repair"."""
    task_id: str
    before: Attempt
    after: Attempt


@dataclass(frozen=True)
class HalfEvidence:
    """Everything that follows from one half of an evaluation: own failures, or bugs."""

    tasks: tuple[str, ...]
    """Ids of the problems."""
    tokens: int
    """How many tokens an arm may generate per task."""
    models: tuple[str, ...]
    """The models' names: "base", "adapter", then those of other adapters that were evaluated."""
    arms: tuple[ArmEvidence, ...]
    contrasts: tuple[Contrast, ...]
    """The declared contrasts of this half; their p values are corrected over both halves."""
    primary: Primary | None
    """The contrast that training is judged by; None where an arm that it needs was not played."""
    searching: tuple[Searching, ...]
    """The contrast that searching is judged by, for each model that played both of its arms."""
    smallest_gain: float | None
    """The smallest difference of shares that would be detected with a power of 80 %; None where no difference would be."""
    regressions: tuple[Regression, ...]
    operators: Mapping[str, str]
    """The operator that made each bug, by the bug's id."""
    hard: tuple[str, ...] | None
    """Problems of which no draft of the base is right; None where this was not looked for."""


@dataclass(frozen=True)
class Evidence(HalfEvidence):
    """Everything that follows from an evaluation: its own fields are the first half, the models' own failures."""

    gate: Gate | None
    """Whether the adapter is recommended; None where no tasks were held back from training."""
    bugs: HalfEvidence | None
    """The second half; None where the run was evaluated without bugs."""

    @property
    def halves(self) -> dict[str, HalfEvidence]:
        """The halves that were played, by name: "own failures", "bugs"."""
        return {OWN: self, **({BUGS: self.bugs} if self.bugs else {})}


def read_evidence(run: StoredRun) -> Evidence | None:
    """Return the evidence of a run; None where its evaluation is not finished."""
    own, bugs = read_own_failures(run), read_bugs(run)
    if own is None:
        return None
    result = result_of(run, own, bugs)
    second = HalfEvidence(**_half(bugs, result, BUGS)) if bugs else None
    return Evidence(**_half(own, result, OWN), gate=result.gate, bugs=second)


def _half(played: Played, result: Result, name: str) -> dict[str, Any]:
    """Return the fields of a ``HalfEvidence``."""
    half = result.halves[name]
    hard = None if half.hard is None else tuple(half.hard)
    readers = {model: _ArmReader(played, model, half.models[model], hard) for model in played.models}
    return {
        "tasks": tuple(played.figures),
        "tokens": played.tokens,
        "models": tuple(played.models),
        "arms": tuple(readers[model].read(arm) for model, arms in played.models.items() for arm in arms if _is_arm(name, arm)),
        "contrasts": tuple(contrast for contrast in result.contrasts if contrast.half == name),
        "primary": half.primary,
        "searching": result.searching(name),
        "smallest_gain": _smallest_gain(half.primary),
        "regressions": tuple(_regressions(played)),
        "operators": played.operators,
        "hard": hard,
    }  # fmt: skip


def _is_arm(half: str, arm: str) -> bool:
    # In the half of the bugs the first "drafts" are the bugs themselves, which no model wrote.
    return not (half == BUGS and arm == FIRST)


class _ArmReader:
    """Computes the figures of one model's arms; what they share is prepared once."""

    def __init__(self, played: Played, model: str, result: ModelResult, hard: Collection[str] | None) -> None:
        self._played, self._model, self._result, self._hard = played, model, result, hard
        self._arms = played.models[model]
        self._known: dict[str, Codes] = {}
        self._first = {id_: made[0] for id_, made in self._arms[FIRST].items()}
        self._errors = {id_: kind for id_, draft in self._first.items() if (kind := error_kind(draft))}
        self._sizes = {id_: task.size for id_, task in played.figures.items()}

    def read(self, arm: str) -> ArmEvidence:
        made, key, tokens = self._arms[arm], ArmKey(self._model, arm), self._played.tokens
        answers, solved = self._played.answers[key], self._played.solved[key]
        again = retries(made, self._codes)
        score = self._result.scores[arm]
        own = [attempt for attempts in made.values() for attempt in attempts if attempt.kind != "given"]
        return ArmEvidence(
            model=self._model,
            arm=arm,
            score=score,
            interval=wilson(*score.problems),
            curve=solved_by_tokens(made, tokens),
            after=solved_after(made, tokens),
            transitions=transitions(self._first, answers),
            wrong_accepted=wrong_accepted(answers.values()),
            copies=again.copies,
            edit_tokens=again.edit_tokens,
            by_error=by_group(solved, self._errors),
            by_size=by_length(solved, self._sizes),
            by_operator=by_group(solved, self._played.operators),
            hard=None if self._hard is None else Share(len(solved.intersection(self._hard)), len(self._hard)),
            n_attempts=len(own),
            n_tokens=sum(attempt.n_completion_tokens for attempt in own),
            n_read_tokens=sum(attempt.n_read_tokens for attempt in own),
            n_tries=sum(attempt.n_tries for attempt in own),
        )

    def _codes(self, attempt: Attempt) -> Codes:
        name = self._played.figures[attempt.task_id].domain
        if name not in self._known:
            self._known[name] = Codes(domain_of(name))
        return self._known[name]


def _regressions(played: Played) -> Iterator[Regression]:
    """Yield the problems that the adapter gets wrong although an earlier answer was right, each task once.

    The adapter's first draft is compared with the base's, its answer after repair with the base's and with its own first draft.
    """
    if ADAPTER not in played.models:
        return
    base_first, base_answer, first, given = (
        played.answers.get(ArmKey(model, arm), {}) for model in (BASE, ADAPTER) for arm in (FIRST, REPAIR)
    )
    sides = (
        ("the base's first draft, the adapter's first draft", base_first, first),
        ("the base after repair, the adapter after repair", base_answer, given),
        ("the adapter's first draft, the adapter after repair", first, given),
    )
    seen: set[str] = set()
    for kind, before, after in sides:
        worse = [id_ for id_ in before if id_ in after and before[id_].passed and not after[id_].passed]
        yield from (Regression(kind, id_, before[id_], after[id_]) for id_ in worse if id_ not in seen)
        seen.update(worse)


def _smallest_gain(primary: Primary | None) -> float | None:
    if primary is None or not primary.n:
        return None
    # The primary contrast has two opponents. The one that differs on more problems is harder to tell apart, so it sets the limit.
    discordant = max(won + lost for _, won, lost in (primary.base, primary.adapter)) / primary.n
    return smallest_gain(primary.n, discordant)
