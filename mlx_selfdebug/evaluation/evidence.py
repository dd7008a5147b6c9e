"""Everything an evaluation has to say, from a run's records alone: by model and arm, the declared contrasts, what got worse.

It reads what ``evaluate`` stored and computes nothing with a model, so it can be had of a run at any time.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     read_evidence(run).primary.verdict
'not shown'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, answer
from mlx_selfdebug.evaluation.contrasts import Contrast, contrasts
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
)
from mlx_selfdebug.evaluation.played import ADAPTER, BASE, Played, read_gate, read_played
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.result import Score, result_of, score
from mlx_selfdebug.evaluation.statistics import Interval, smallest_gain, wilson
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.store import StoredRun


@dataclass(frozen=True)
class ArmEvidence:
    """One arm of one model; ``arm`` is "first" for the greedy drafts that the model's other arms begin with.

    ``interval`` is of the share of problems solved. ``curve`` has the problems solved when each task may take so many tokens,
    ``after`` those solved after 1, 2, ... attempts a task. ``transitions`` go from first draft to answer. Of the retries,
    ``copies`` returned the code before unchanged but for layout; ``edit_tokens`` is the median number of lexical tokens that
    the others changed. ``by_error``: solved by how the first draft failed; ``by_size``: by the length of the reference. Tokens
    are those generated, the first drafts' included.
    """

    model: str
    arm: str
    score: Score
    interval: Interval
    curve: tuple[Point, ...]
    after: tuple[int, ...]
    transitions: Transitions
    copies: Share
    edit_tokens: float | None
    by_error: Mapping[str, Share]
    by_size: Mapping[str, Share]
    n_attempts: int
    n_tokens: int

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
class Evidence:
    """Of one evaluation: ``models`` are "base", "adapter" and whatever other adapters were played, by their names.

    ``smallest_gain`` is the smallest difference of shares that this set shows in four of five tries, None where none would.
    """

    tasks: tuple[str, ...]
    tokens: int
    models: tuple[str, ...]
    arms: tuple[ArmEvidence, ...]
    contrasts: tuple[Contrast, ...]
    primary: Primary | None
    smallest_gain: float | None
    gate: Gate | None
    regressions: tuple[Regression, ...]


def read_evidence(run: StoredRun) -> Evidence | None:
    """None where no evaluation was finished."""
    played = read_played(run)
    if played is None:
        return None
    result = result_of(played, read_gate(run))
    models, tasks = tuple(played.models), tuple(played.figures)
    solved = {f"{name}/{arm}": ids for name, found in result.models.items() for arm, ids in found.solved.items()}
    return Evidence(
        tasks=tasks,
        tokens=played.tokens,
        models=models,
        arms=tuple(_ArmReader(played, model).read(arm) for model in models for arm in played.models[model]),
        contrasts=tuple(contrasts(solved, tasks, models)),
        primary=result.primary,
        smallest_gain=_smallest_gain(result.primary),
        gate=result.gate,
        regressions=tuple(_regressions(played)),
    )


class _ArmReader:
    """Arms of one model."""

    def __init__(self, played: Played, model: str) -> None:
        self._figures, self._tokens = played.figures, played.tokens
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
        return ArmEvidence(
            model=self._model,
            arm=arm,
            score=found,
            interval=wilson(*found.problems),
            curve=solved_by_tokens(made, self._tokens),
            after=solved_after(made, self._tokens),
            transitions=transitions(self._first, answers),
            copies=again.copies,
            edit_tokens=again.edit_tokens,
            by_error=by_group(solved, self._errors),
            by_size=by_length(solved, self._sizes),
            n_attempts=sum(map(len, made.values())),
            n_tokens=sum(attempt.n_completion_tokens for attempts in made.values() for attempt in attempts),
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
