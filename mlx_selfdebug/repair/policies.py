"""Define policies: small objects that decide what is attempted next on a task. You can write your own.

    class Twice:
        def moves(self, task, attempts):
            return [Move(sample=0), Move(sample=1)] if not attempts else []

A policy is asked when no attempt on the task is under way. It sees the finished attempts, ordered by sample and round, and returns
the next moves; an empty list ends the task. It looks at nothing else, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.values.attempt import Attempt, Kind
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import SUSPICIOUS

EASY_ERRORS = frozenset({"NameError", "UnboundLocalError", "TypeError", "AttributeError", "SyntaxError", "IndentationError",
                         "TabError", "ImportError", "ModuleNotFoundError"})  # fmt: skip
"""Errors that a small model fixes when it is told of them. After a failed assertion it mostly returns the same program again."""

EXHAUSTED = "exhausted"
"""The ``finish`` of a follow-up that found nothing or could not be made. Its attempt holds the failed program as it was."""

EDITS_ROUND = 1
"""The round of a sample in which its failed program is searched for an edit."""
FIRST_FORK_ROUND = 2
"""The round of a sample in which its first fork is made, be it of a line or of the whole rest.

Edits come before forks, so attempts that are sorted by sample and round are in the order in which they were made.
"""


@dataclass(frozen=True)
class Move:
    """One attempt to make: a draft, or something made from an attempt that failed."""

    sample: int
    """The number of the draft, from 0 on. Attempts that follow a draft up usually keep its number.

    ``sample`` and ``round`` together identify the attempt within its task and arm.
    """
    round: int = 0
    """0 for a draft, 1 and more for the attempts that follow it up."""
    parent: Attempt | None = None
    """The failed attempt that is followed up; None for a draft."""
    temperature: float | None = None
    """The sampling temperature; None is the temperature of the arm's decoding."""
    by: Literal["asking", "edits", "line", "insert", "fork"] = "asking"
    """How the parent is followed up.

    "asking" shows the parent to the model and asks for a repair. "edits" searches for a small edit of the parent's program that
    passes. "fork" cuts the program off at a surprising token and lets the model complete it from there. "line" lets the model
    complete only the line of that token, after which the program continues as it was. "insert" lets the model insert a statement
    above a line whose beginning surprises it.
    """
    place: int = 0
    """The rank of the place at which a fork begins: 0 is the token that the model would most like to change."""
    hidden: bool = False
    """Whether the search for an edit goes by the hidden checks instead of the public ones, as it may on training tasks."""

    @property
    def is_fork(self) -> bool:
        """Whether the attempt is a fork of the parent's program, be it of the whole rest, of a line or of an inserted statement."""
        return self.by in ("line", "insert", "fork")

    @property
    def kind(self) -> Kind:
        """The kind of the attempt that this move makes."""
        if self.parent is None:
            return "draft"
        if self.by == "asking":
            return "repair"
        return "edits" if self.by == "edits" else "fork"


class Policy(Protocol):
    """An object that decides what is attempted next on a task."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        """Return the next moves on ``task`` after ``attempts``, or none to end the task."""


Stop = Callable[[Sequence[Attempt]], bool]
"""Decides from a task's finished attempts whether the task is over."""


def solved(attempts: Sequence[Attempt]) -> bool:
    """Return whether some attempt passes the hidden checks. Only on training tasks may a policy look at them."""
    return any(attempt.passed for attempt in attempts)


def passed_in_public(attempts: Sequence[Attempt]) -> bool:
    """Return whether some attempt passes the public checks, the ones that a model may see."""
    return any(attempt.public.passed for attempt in attempts)


def spent(tokens: int) -> Stop:
    """Return a rule that ends a task when its completions have ``tokens`` tokens or more in all."""
    return lambda attempts: sum(attempt.n_completion_tokens for attempt in attempts) >= tokens


def either(*stops: Stop) -> Stop:
    """Return a rule that ends a task when any of ``stops`` does."""
    return lambda attempts: any(stop(attempts) for stop in stops)


def repairable(attempt: Attempt) -> bool:
    """Return whether ``attempt`` failed a public check and neither of its verdicts is suspicious (``SUSPICIOUS``)."""
    return not attempt.public.passed and SUSPICIOUS.isdisjoint({attempt.public.outcome, attempt.verdict.outcome})


@dataclass(frozen=True)
class Greedy:
    """A policy of one draft at temperature 0."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        return [] if attempts else [Move(0, temperature=0.0)]


@dataclass(frozen=True)
class Resample:
    """A policy of blind drafts, one after another until ``stop``. The model is never shown an attempt."""

    samples: int
    """The largest number of drafts."""
    stop: Stop = passed_in_public
    first: float | None = None
    """The temperature of the first draft; None is the temperature of the arm's decoding."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        n = len(attempts)
        if n >= self.samples or (attempts and self.stop(attempts)):
            return []
        return [Move(n, temperature=self.first if n == 0 else None)]


@dataclass(frozen=True)
class Repair:
    """A policy of one draft, followed by repairs of the last attempt until ``stop``."""

    rounds: int
    """The largest number of repairs."""
    stop: Stop = passed_in_public
    temperature: float | None = None
    """The temperature of the draft and the repairs; None is the temperature of the arm's decoding."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        if not attempts:
            return [Move(0, temperature=self.temperature)]
        last = attempts[-1]
        if last.round >= self.rounds or self.stop(attempts) or not repairable(last):
            return []
        return [Move(0, last.round + 1, last, self.temperature)]


@dataclass(frozen=True)
class Search:
    """A policy that searches the first attempt's failed program, and then makes drafts or repairs, until ``stop``.

    Only a program that is ``repairable`` is searched. The first draft on a task is greedy, as a user's first draft is; later
    drafts have the temperature of the arm's decoding.
    """

    edits: bool = True
    """Whether to look for a small edit of the program that passes."""
    lines: int = 3
    """The largest number of forks of a single line, which follow if no edit passed. If ``forks`` is 0, none are made."""
    forks: int = 2
    """The largest number of forks of the whole rest of the program, which follow the forks of a line."""
    then: Literal["drafts", "repairs", "nothing"] = "drafts"
    """What follows when no edit and no fork passed: fresh "drafts", "repairs" that are shown the failed program, or "nothing"."""
    stop: Stop = passed_in_public
    max_followups: int = 64
    """The largest number of drafts or repairs after the first attempt."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        if not attempts:
            return [Move(0, temperature=0.0)]
        if self.stop(attempts):
            return []
        searchable = bool(task.public) and repairable(attempts[0])
        move = self._search(attempts) if searchable else None
        if move is None:
            move = self._draft(attempts) if self.then == "drafts" else self._repair(attempts)
        return [move] if move else []

    def _search(self, attempts: Sequence[Attempt]) -> Move | None:
        """Return the next search for an edit, fork of a line or fork of the whole rest, or None once all have been made."""
        failed = attempts[0]
        if self.edits and not any(attempt.kind == "edits" for attempt in attempts):
            return Move(0, EDITS_ROUND, failed, by="edits")
        # Forks of a line and forks of the whole rest have the same kind. Their rounds tell them apart.
        max_lines = self.lines if self.forks else 0
        first_rest_round = FIRST_FORK_ROUND + max_lines
        forks = [attempt for attempt in attempts if attempt.kind == "fork"]
        lines = [fork for fork in forks if fork.round < first_rest_round]
        if len(lines) < max_lines and not _any_exhausted(lines):
            return Move(0, FIRST_FORK_ROUND + len(lines), failed, by="line", place=len(lines))
        rests = [fork for fork in forks if fork.round >= first_rest_round]
        if len(rests) < self.forks and not _any_exhausted(rests):
            return Move(0, first_rest_round + len(rests), failed, by="fork", place=len(rests))
        return None

    def _draft(self, attempts: Sequence[Attempt]) -> Move | None:
        """Return the next draft, or None if there were enough."""
        sample = attempts[-1].sample + 1
        # The first attempt may be a given program, after which the model has not drafted yet.
        drafted = any(attempt.kind == "draft" for attempt in attempts)
        return Move(sample, temperature=None if drafted else 0.0) if sample <= self.max_followups else None

    def _repair(self, attempts: Sequence[Attempt]) -> Move | None:
        """Return the next repair of the searched program, or None if no repairs are wanted or there were enough."""
        failed, n_repairs = attempts[0], sum(attempt.kind == "repair" for attempt in attempts)
        if self.then != "repairs" or n_repairs >= self.max_followups or not repairable(failed):
            return None
        return Move(0, attempts[-1].round + 1, failed)


def _any_exhausted(forks: Sequence[Attempt]) -> bool:
    """Return whether one of the forks found no place left. A program may have fewer places than the policy would fork."""
    return any(fork.finish == EXHAUSTED for fork in forks)


@dataclass(frozen=True)
class Alternate:
    """A policy that repairs an attempt at once if it failed with an error of name, type or syntax (``EASY_ERRORS``).

    After a failed assertion, a fresh draft and a repair of that draft take turns.
    """

    max_attempts: int
    """The largest number of attempts."""
    stop: Stop = passed_in_public

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        if not attempts:
            return [Move(0)]
        last = attempts[-1]
        if len(attempts) >= self.max_attempts or self.stop(attempts):
            return []
        fresh_draft_failed = last.round == 0 and last.sample > 0
        if repairable(last) and (_failed_with_easy_error(last) or fresh_draft_failed):
            return [Move(last.sample, last.round + 1, last)]
        return [Move(last.sample + 1)]


def _failed_with_easy_error(attempt: Attempt) -> bool:
    """Return whether the first public check that failed did so with an error of ``EASY_ERRORS``."""
    return any(failure.error and failure.error.type in EASY_ERRORS for failure in attempt.public.failures[:1])


@dataclass(frozen=True)
class MiningPolicy:
    """A policy that mines training data: it makes several drafts at once, and then follows up those that failed.

    First, failed drafts are searched for a small edit that passes. If the task has no right program after that, failed drafts are
    forked. If that does not help either, rounds of repairs follow, each made from the failed attempts of the round before. The
    searches go by the hidden checks. Attempts with the same code count as one.
    """

    samples: int
    """The number of drafts."""
    rounds: int
    """The largest number of rounds of repairs."""
    repairs: int
    """The largest number of failed attempts that are forked, or that are repaired in one round."""
    edits: int = 0
    """The largest number of failed drafts that are searched for a small edit."""
    forks: int = 0
    """The number of places at which each failed draft is forked."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        if not attempts:
            return [Move(sample) for sample in range(self.samples)]
        kinds = {attempt.kind for attempt in attempts}
        failed = _distinct_failed(task, [attempt for attempt in attempts if attempt.kind == "draft"])
        if self.edits and failed and "edits" not in kinds:
            return [Move(a.sample, EDITS_ROUND, a, by="edits", hidden=True) for a in failed[: self.edits]]
        if solved(attempts):
            return []
        if self.forks and failed and "fork" not in kinds:
            return [
                Move(a.sample, FIRST_FORK_ROUND + place, a, by="fork", place=place)
                for a in failed[: self.repairs]
                for place in range(self.forks)
            ]
        return self._repairs(task, attempts, failed)

    def _repairs(self, task: Task, attempts: Sequence[Attempt], failed_drafts: Sequence[Attempt]) -> list[Move]:
        """Return the next round of repairs: of the failed drafts at first, then of the failed repairs of the round before."""
        repairs = [attempt for attempt in attempts if attempt.kind == "repair"]
        last_round = max((repair.round for repair in repairs), default=self._rounds_before_repairs)
        if last_round >= self._rounds_before_repairs + self.rounds:
            return []
        failed = failed_drafts
        if repairs:
            failed = _distinct_failed(task, [repair for repair in repairs if repair.round == last_round])
        return [Move(a.sample, last_round + 1, a) for a in failed[: self.repairs]]

    @property
    def _rounds_before_repairs(self) -> int:
        """The number of rounds that are reserved for edits and forks, before the first repair of a sample."""
        if self.forks:
            return FIRST_FORK_ROUND - 1 + self.forks
        return EDITS_ROUND if self.edits else 0


def _distinct_failed(task: Task, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts that failed without anything suspicious, one for each different code."""
    normalise = domain_of(task.domain).normalise
    by_code: dict[str, Attempt] = {}
    for attempt in attempts:
        if not attempt.passed and attempt.verdict.outcome not in SUSPICIOUS:
            by_code.setdefault(normalise(attempt.code), attempt)
    return list(by_code.values())
