"""Everything an evaluation has to say, from a run's records alone: by model and arm, the declared contrasts, what got worse.

It reads what ``evaluate`` stored and computes nothing with a model, so it can be had of a run at any time.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     read_evidence(run).primary.verdict
'not shown'
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, answer
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
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, BUGS, OWN, Played, read_bugs, read_played
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.result import Result, Score, read_result, score
from mlx_selfdebug.evaluation.searching import Searching
from mlx_selfdebug.evaluation.statistics import Interval, smallest_gain, wilson
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.values.attempt import Attempt


@dataclass(frozen=True)
class ArmEvidence:
    """One arm of one model; ``arm`` is "first" for the greedy drafts that the model's other arms begin with.

    ``interval`` is of the share of problems solved. ``curve`` has the problems solved when each task may take so many tokens,
    ``after`` those solved after 1, 2, ... attempts a task. ``transitions`` go from first draft to answer. Of the answers that pass
    the public checks, ``wrong_accepted`` fail hidden ones. Of the retries, ``copies`` returned the code before unchanged but for
    layout; ``edit_tokens`` is the median number of lexical tokens that the others changed. ``by_error``: solved by how the first
    draft failed; ``by_size``: by the length of the reference; ``by_operator``, of bugs: by what made them; ``hard``: of the
    problems that are hard, None where they are not known.

    ``n_tokens`` were generated, the first drafts' included; ``n_read_tokens`` were read in given programs; ``n_tries`` edits were
    run. Given programs are no attempts.
    """

    model: str
    arm: str
    score: Score
    interval: Interval
    curve: tuple[Point, ...]
    after: tuple[int, ...]
    transitions: Transitions
    wrong_accepted: Share
    copies: Share
    edit_tokens: float | None
    by_error: Mapping[str, Share]
    by_size: Mapping[str, Share]
    by_operator: Mapping[str, Share]
    hard: Share | None
    n_attempts: int
    n_tokens: int
    n_read_tokens: int
    n_tries: int

    @property
    def name(self) -> str:
        return f"{self.model}/{self.arm}"


@dataclass(frozen=True)
class Regression:
    """A problem that was right before and is wrong after: ``kind`` says between which two."""

    kind: str
    task_id: str
    before: Attempt
    after: Attempt


@dataclass(frozen=True)
class HalfEvidence:
    """Of one half: ``models`` are "base", "adapter" and whatever other adapters were played, by their names.

    ``tokens`` is what an arm may generate for a task. ``smallest_gain`` is the smallest difference of shares that these problems
    show in four of five tries, None where none would. ``operators``: of bugs, what made each. ``hard``: problems of which no draft
    of the base is right, None where they are not known.
    """

    tasks: tuple[str, ...]
    tokens: int
    models: tuple[str, ...]
    arms: tuple[ArmEvidence, ...]
    contrasts: tuple[Contrast, ...]
    primary: Primary | None
    searching: tuple[Searching, ...]
    smallest_gain: float | None
    regressions: tuple[Regression, ...]
    operators: Mapping[str, str]
    hard: tuple[str, ...] | None


@dataclass(frozen=True)
class Evidence(HalfEvidence):
    """Of one evaluation: its first half, the models' own failures, and in ``bugs`` its second; None where it had none."""

    gate: Gate | None
    bugs: HalfEvidence | None

    @property
    def halves(self) -> dict[str, HalfEvidence]:
        """Those that were played, by name: "own failures", "bugs"."""
        return {OWN: self, **({BUGS: self.bugs} if self.bugs else {})}


def read_evidence(run: StoredRun) -> Evidence | None:
    """None where no evaluation was finished."""
    played, bugs, result = read_played(run), read_bugs(run), read_result(run)
    if played is None or result is None:
        return None
    second = HalfEvidence(**_half(bugs, result, BUGS)) if bugs else None
    return Evidence(**_half(played, result, OWN), gate=result.gate, bugs=second)


def _half(played: Played, result: Result, name: str) -> dict[str, Any]:
    """The fields of a ``HalfEvidence``."""
    half = result.halves[name]
    hard = None if half.hard is None else tuple(half.hard)
    readers = {model: _ArmReader(played, model, hard) for model in played.models}
    return {
        "tasks": tuple(played.figures),
        "tokens": played.tokens,
        "models": tuple(played.models),
        "arms": tuple(readers[model].read(arm) for model, arms in played.models.items() for arm in arms if _is_arm(name, arm)),
        "contrasts": tuple(one for one in result.contrasts if one.half == name),
        "primary": half.primary,
        "searching": result.searching(name),
        "smallest_gain": _smallest_gain(half.primary),
        "regressions": tuple(_regressions(played)),
        "operators": played.operators,
        "hard": hard,
    }  # fmt: skip


def _is_arm(half: str, arm: str) -> bool:
    """Bugs are given: no model has drafted them."""
    return not (half == BUGS and arm == FIRST)


class _ArmReader:
    """Arms of one model."""

    def __init__(self, played: Played, model: str, hard: Collection[str] | None) -> None:
        self._figures, self._tokens = played.figures, played.tokens
        self._operators, self._hard = played.operators, hard
        self._model, self._arms = model, played.models[model]
        self._known: dict[str, Codes] = {}
        self._first = {id_: made[0] for id_, made in self._arms[FIRST].items()}
        self._errors = {id_: kind for id_, draft in self._first.items() if (kind := error_kind(draft))}
        self._sizes = {id_: task.size for id_, task in played.figures.items()}

    def read(self, arm: str) -> ArmEvidence:
        made = self._arms[arm]
        answers = {id_: answer(attempts, self._tokens) for id_, attempts in made.items()}
        again = retries(made, self._codes)
        solved = {id_ for id_, given in answers.items() if given.passed}
        found = score(answers.values(), self._figures)
        own = [attempt for attempts in made.values() for attempt in attempts if attempt.kind != "given"]
        return ArmEvidence(
            model=self._model,
            arm=arm,
            score=found,
            interval=wilson(*found.problems),
            curve=solved_by_tokens(made, self._tokens),
            after=solved_after(made, self._tokens),
            transitions=transitions(self._first, answers),
            wrong_accepted=wrong_accepted(answers.values()),
            copies=again.copies,
            edit_tokens=again.edit_tokens,
            by_error=by_group(solved, self._errors),
            by_size=by_length(solved, self._sizes),
            by_operator=by_group(solved, self._operators),
            hard=None if self._hard is None else Share(len(solved.intersection(self._hard)), len(self._hard)),
            n_attempts=len(own),
            n_tokens=sum(attempt.n_completion_tokens for attempt in own),
            n_read_tokens=sum(attempt.n_read_tokens for attempt in own),
            n_tries=sum(attempt.n_tries for attempt in own),
        )

    def _codes(self, attempt: Attempt) -> Codes:
        name = self._figures[attempt.task_id].domain
        if name not in self._known:
            self._known[name] = Codes(domain_of(name))
        return self._known[name]


def _regressions(played: Played) -> Iterator[Regression]:
    """Of the adapter: against the base's first draft, the base's answer after repair, and its own first draft. Each task once."""
    if ADAPTER not in played.models:
        return
    base_first, base_answer = (_answers(played, BASE, arm) for arm in (FIRST, REPAIR))
    first, given = (_answers(played, ADAPTER, arm) for arm in (FIRST, REPAIR))
    sides = (
        ("the base's first draft, the adapter's first draft", base_first, first),
        ("the base after repair, the adapter after repair", base_answer, given),
        ("the adapter's first draft, the adapter after repair", first, given),
    )
    told: set[str] = set()
    for kind, before, after in sides:
        worse = [id_ for id_ in before if id_ in after and before[id_].passed and not after[id_].passed]
        yield from (Regression(kind, id_, before[id_], after[id_]) for id_ in worse if id_ not in told)
        told.update(worse)


def _answers(played: Played, model: str, arm: str) -> dict[str, Attempt]:
    """By task; none for an arm that was not played."""
    made = played.models[model].get(arm, {})
    return {id_: answer(attempts, played.tokens) for id_, attempts in made.items()}


def _smallest_gain(primary: Primary | None) -> float | None:
    """For the contrast of the two that differ in more problems."""
    if primary is None or not primary.n:
        return None
    discordant = max(won + lost for _, won, lost in (primary.base, primary.adapter)) / primary.n
    return smallest_gain(primary.n, discordant)
