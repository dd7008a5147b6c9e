"""Compute everything that follows from an evaluation: figures per model and arm, the declared contrasts, and the regressions.

This reads what ``evaluate`` stored and needs no model, so the evidence of a run can be computed at any time.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     read_evidence(run).primary.verdict
'not shown'
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

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
    """Problems solved and checks passed by the arm's answers."""
    interval: Interval
    """The 95 % interval of the share of problems solved (Wilson)."""
    curve: tuple[Point, ...]
    """Problems solved against the generated tokens that each task may take."""
    after: tuple[int, ...]
    """Problems solved after 1, 2, ... attempts per task."""
    transitions: Transitions
    """The numbers of problems by whether the first draft and the answer are right: kept, fixed, broken, or never solved."""
    wrong_accepted: Share
    """Of the answers that pass all public checks, the share that fails a hidden check."""
    copies: Share
    """The share of the retries that returned the previous code, unchanged apart from its layout."""
    edit_tokens: float | None
    """The median number of lexical tokens changed by the retries that are not copies; None if there are no such retries."""
    by_error: Mapping[str, Share]
    """The share of problems solved, by the kind of failure of the first draft."""
    by_size: Mapping[str, Share]
    """The share of problems solved, by third of the reference's length: "short", "middle", "long"."""
    by_operator: Mapping[str, Share]
    """The share of bugs repaired, by the operator that made them; empty in the half of own failures."""
    hard: Share | None
    """The share of hard problems solved; None if it is not known which problems are hard."""
    n_attempts: int
    """The number of attempts that the model made, without the programs that it was given."""
    n_tokens: int
    """The number of generated tokens, including those of the first drafts."""
    n_read_tokens: int
    """The number of tokens of failed programs that the model read in order to search them."""
    n_tries: int
    """The number of edits that were run."""

    @property
    def name(self) -> str:
        """Model and arm, such as "adapter/facts"."""
        return ArmKey(self.model, self.arm)


@dataclass(frozen=True)
class Regression:
    """A problem whose answer was right before and is wrong after."""

    kind: str
    """Which two answers are compared, such as "the adapter's first draft, the adapter after repair"."""
    task_id: str
    before: Attempt
    """The answer that was right."""
    after: Attempt
    """The answer that is wrong."""


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
    """The figures of every arm, by model and then in the order in which the arms are declared."""
    contrasts: tuple[Contrast, ...]
    """The declared contrasts of this half, with p values that are corrected over both halves."""
    primary: Primary | None
    """The contrast by which training is judged; None if an arm that it needs was not played."""
    searching: tuple[Searching, ...]
    """The contrast by which searching is judged, for each model that played both of its arms."""
    smallest_gain: float | None
    """The smallest difference of shares that would be detected with a power of 80 %.

    It is None if even the largest possible difference would go undetected, or if ``primary`` is None or has no problems.
    """
    regressions: tuple[Regression, ...]
    """The problems that the adapter gets wrong although an earlier answer was right."""
    operators: Mapping[str, str]
    """The operator that made each bug, by the bug's id; empty in the half of own failures."""
    hard: tuple[str, ...] | None
    """Ids of the problems on which no draft of the base is right; None if this was not looked for."""


@dataclass(frozen=True)
class Evidence(HalfEvidence):
    """Everything that follows from an evaluation. The inherited fields are those of the first half, the models' own failures."""

    gate: Gate | None
    """The decision whether the adapter is recommended; None if no tasks were held back from training."""
    bugs: HalfEvidence | None
    """The second half; None if the run was evaluated without bugs."""

    @property
    def halves(self) -> dict[str, HalfEvidence]:
        """The halves that were played, by name: "own failures", "bugs"."""
        return {OWN: self, **({BUGS: self.bugs} if self.bugs else {})}


def read_evidence(run: StoredRun) -> Evidence | None:
    """Return the evidence of a run, or None if its evaluation is not finished."""
    own, bugs = read_own_failures(run), read_bugs(run)
    if own is None:
        return None
    result = result_of(run, own, bugs)
    second = _half(bugs, result, BUGS) if bugs else None
    return Evidence(**vars(_half(own, result, OWN)), gate=result.gate, bugs=second)


def _half(played: Played, result: Result, name: str) -> HalfEvidence:
    """Return the evidence of the half called ``name``, from its attempts and from the result of the whole evaluation."""
    half = result.halves[name]
    hard = None if half.hard is None else tuple(half.hard)
    arms: list[ArmEvidence] = []
    for model in played.models:
        figures = _ArmFigures(played, model, half.models[model], hard)
        # In the half of the bugs the first "drafts" are the bugs themselves, which no model wrote.
        arms += [figures.of(arm) for arm in played.models[model] if not (name == BUGS and arm == FIRST)]
    return HalfEvidence(
        tasks=tuple(played.figures),
        tokens=played.tokens,
        models=tuple(played.models),
        arms=tuple(arms),
        contrasts=tuple(contrast for contrast in result.contrasts if contrast.half == name),
        primary=half.primary,
        searching=result.searching(name),
        smallest_gain=_smallest_gain(half.primary),
        regressions=tuple(_regressions(played)),
        operators=played.operators,
        hard=hard,
    )


class _ArmFigures:
    """Computes the figures of one model's arms. What the arms share is computed once."""

    def __init__(self, played: Played, model: str, result: ModelResult, hard: Collection[str] | None) -> None:
        self._played, self._model, self._result, self._hard = played, model, result, hard
        self._arms = played.models[model]
        self._codes_by_domain: dict[str, Codes] = {}
        self._first = {id_: attempts[0] for id_, attempts in self._arms[FIRST].items()}
        self._errors = {id_: kind for id_, draft in self._first.items() if (kind := error_kind(draft))}
        self._sizes = {id_: task.size for id_, task in played.figures.items()}

    def of(self, arm: str) -> ArmEvidence:
        """Return the figures of one arm."""
        attempts_by_task, tokens = self._arms[arm], self._played.tokens
        key = ArmKey(self._model, arm)
        answers, solved = self._played.answers[key], self._played.solved[key]
        retried = retries(attempts_by_task, self._codes)
        score = self._result.scores[arm]
        # Programs that the model was given cost it nothing, so they are not counted.
        own = [attempt for attempts in attempts_by_task.values() for attempt in attempts if attempt.kind != "given"]
        return ArmEvidence(
            model=self._model,
            arm=arm,
            score=score,
            interval=wilson(*score.problems),
            curve=solved_by_tokens(attempts_by_task, tokens),
            after=solved_after(attempts_by_task, tokens),
            transitions=transitions(self._first, answers),
            wrong_accepted=wrong_accepted(answers.values()),
            copies=retried.copies,
            edit_tokens=retried.edit_tokens,
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
        """Return the code comparer of the attempt's domain."""
        name = self._played.figures[attempt.task_id].domain
        if name not in self._codes_by_domain:
            self._codes_by_domain[name] = Codes(domain_of(name))
        return self._codes_by_domain[name]


def _regressions(played: Played) -> Iterator[Regression]:
    """Yield the problems that the adapter gets wrong although an earlier answer was right, each task once.

    The adapter's first draft is compared with the base's first draft. The adapter's answer after repair is compared with the base's
    answer after repair and with the adapter's own first draft.
    """
    if ADAPTER not in played.models:
        return
    base_first = played.answers.get(ArmKey(BASE, FIRST), {})
    base_repaired = played.answers.get(ArmKey(BASE, REPAIR), {})
    first = played.answers.get(ArmKey(ADAPTER, FIRST), {})
    repaired = played.answers.get(ArmKey(ADAPTER, REPAIR), {})
    comparisons = (
        ("the base's first draft, the adapter's first draft", base_first, first),
        ("the base after repair, the adapter after repair", base_repaired, repaired),
        ("the adapter's first draft, the adapter after repair", first, repaired),
    )
    seen: set[str] = set()
    for kind, before, after in comparisons:
        worse = [id_ for id_ in before if id_ in after and before[id_].passed and not after[id_].passed]
        yield from (Regression(kind, id_, before[id_], after[id_]) for id_ in worse if id_ not in seen)
        seen.update(worse)


def _smallest_gain(primary: Primary | None) -> float | None:
    """Return the smallest difference of shares that the primary contrast would detect with a power of 80 %."""
    if primary is None or not primary.n:
        return None
    # There are two opponents. The one whose answers differ on more problems makes a gain harder to detect, so it sets the limit.
    discordant = max(o.won_by_adapter + o.lost_by_adapter for o in (primary.base, primary.adapter)) / primary.n
    return smallest_gain(primary.n, discordant)
