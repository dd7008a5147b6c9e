"""What is attempted next on a task, given what was attempted before: small objects, ours or yours.

A policy is asked when nothing of the task is under way, with its finished attempts in order (sample, round), and names the next
moves; none ends the task. It looks at nothing else, so a run that was killed goes on as it would have.

    class Twice:
        def moves(self, task, attempts):
            return [Move(sample=0), Move(sample=1)] if not attempts else []
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
"""Errors a small model mends when it is told of them; failed assertions it mostly copies."""

EXHAUSTED = "exhausted"
"""How a search ends that found nothing: its attempt holds the failed program as it was."""


@dataclass(frozen=True)
class Move:
    """One attempt to make: a draft, or something made of ``parent``, an attempt that failed.

    ``by`` says how a parent is followed up: "asking" shows it to the model and asks for a repair, "edits" searches for a small
    edit of it that passes, "fork" leaves it at its ``place``-th most surprising token (0 is the first) and completes from there.
    ``temperature`` None is the stream's. ``hidden``: the search for an edit goes by the hidden checks, as it may on training tasks.
    """

    sample: int
    round: int = 0
    parent: Attempt | None = None
    temperature: float | None = None
    by: Literal["asking", "edits", "fork"] = "asking"
    place: int = 0
    hidden: bool = False

    @property
    def kind(self) -> Kind:
        """What the attempt will be called."""
        if self.parent is None:
            return "draft"
        return "repair" if self.by == "asking" else self.by


class Policy(Protocol):
    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]: ...


Stop = Callable[[Sequence[Attempt]], bool]
"""Whether a task is over, by its finished attempts."""


def solved(attempts: Sequence[Attempt]) -> bool:
    """Some attempt is right on the hidden checks: for training tasks, where they may be looked at."""
    return any(attempt.passed for attempt in attempts)


def passed_in_public(attempts: Sequence[Attempt]) -> bool:
    """Some attempt passes all checks a model may see."""
    return any(attempt.public.passed for attempt in attempts)


def spent(tokens: int) -> Stop:
    """The task's completions have ``tokens`` tokens or more."""
    return lambda attempts: sum(attempt.n_completion_tokens for attempt in attempts) >= tokens


def either(*stops: Stop) -> Stop:
    return lambda attempts: any(stop(attempts) for stop in stops)


def repairable(attempt: Attempt) -> bool:
    """Failed a check that may be shown, by honest means."""
    return not attempt.public.passed and SUSPICIOUS.isdisjoint({attempt.public.outcome, attempt.verdict.outcome})


@dataclass(frozen=True)
class Greedy:
    """One draft, at temperature 0."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        return [] if attempts else [Move(0, temperature=0.0)]


@dataclass(frozen=True)
class Resample:
    """Blind: draft after draft until ``stop``, at most ``samples``. ``first`` is the first one's temperature, None the stream's."""

    samples: int
    stop: Stop = passed_in_public
    first: float | None = None

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        n = len(attempts)
        if n >= self.samples or (attempts and self.stop(attempts)):
            return []
        return [Move(n, temperature=self.first if n == 0 else None)]


@dataclass(frozen=True)
class Repair:
    """A draft, then repairs of the last attempt until ``stop``, at most ``rounds``. ``temperature`` is that of them all."""

    rounds: int
    stop: Stop = passed_in_public
    temperature: float | None = None

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        if not attempts:
            return [Move(0, temperature=self.temperature)]
        last = attempts[-1]
        if last.round >= self.rounds or self.stop(attempts) or not repairable(last):
            return []
        return [Move(0, last.round + 1, last, self.temperature)]


EDITS_ROUND = 1
FIRST_FORK_ROUND = 2
"""Rounds of sample 0, so that attempts in the order of their keys are in the order in which they were made."""


@dataclass(frozen=True)
class Search:
    """The first attempt's failed program is searched, then drafts or repairs of it follow, until ``stop``.

    With ``edits`` a small edit of it is looked for. Then up to ``forks`` forks leave it, one after another. ``then`` says what
    comes when both have found nothing: fresh "drafts", "repairs" that are shown the failed program, or "nothing". A program that
    failed no public check, or did what no honest program does, is not searched. At most ``most`` drafts or repairs are made.
    The first draft on a task is greedy, as a user's first one is; later drafts have the stream's temperature.
    """

    edits: bool = True
    forks: int = 3
    then: Literal["drafts", "repairs", "nothing"] = "drafts"
    stop: Stop = passed_in_public
    most: int = 64

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
        failed = attempts[0]
        if self.edits and not any(attempt.kind == "edits" for attempt in attempts):
            return Move(0, EDITS_ROUND, failed, by="edits")
        forks = [attempt for attempt in attempts if attempt.kind == "fork"]
        # A program may have fewer places worth leaving it at than forks are allowed.
        if len(forks) < self.forks and not any(fork.finish == EXHAUSTED for fork in forks):
            return Move(0, FIRST_FORK_ROUND + len(forks), failed, by="fork", place=len(forks))
        return None

    def _draft(self, attempts: Sequence[Attempt]) -> Move | None:
        sample = attempts[-1].sample + 1
        drafted = any(attempt.kind == "draft" for attempt in attempts)
        return Move(sample, temperature=None if drafted else 0.0) if sample <= self.most else None

    def _repair(self, attempts: Sequence[Attempt]) -> Move | None:
        failed, n = attempts[0], sum(attempt.kind == "repair" for attempt in attempts)
        if self.then != "repairs" or n >= self.most or not repairable(failed):
            return None
        return Move(0, attempts[-1].round + 1, failed)


@dataclass(frozen=True)
class Alternate:
    """At most ``most`` attempts: errors of name, type and syntax are repaired; after a failed assertion a fresh draft and a repair
    of it take turns.
    """

    most: int
    stop: Stop = passed_in_public

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        if not attempts:
            return [Move(0)]
        last = attempts[-1]
        if len(attempts) >= self.most or self.stop(attempts):
            return []
        fresh_one_failed = last.round == 0 and last.sample > 0
        if repairable(last) and (_easy(last) or fresh_one_failed):
            return [Move(last.sample, last.round + 1, last)]
        return [Move(last.sample + 1)]


@dataclass(frozen=True)
class Mine:
    """For training data: ``samples`` drafts at once, and what can be made of those that failed.

    Of each task's failed drafts, up to ``edits`` of different code are searched for a small edit that passes. Where nothing is
    right after that, each of up to ``repairs`` of them is left at ``forks`` places, and if that does not help either, up to
    ``rounds`` rounds of asking for repairs follow, each of the last round's failed attempts. Searches go by the hidden checks.
    """

    samples: int
    rounds: int
    repairs: int
    edits: int = 0
    forks: int = 0

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        if not attempts:
            return [Move(sample) for sample in range(self.samples)]
        made = {attempt.kind for attempt in attempts}
        failed = self._failed(task, [attempt for attempt in attempts if attempt.kind == "draft"])
        if self.edits and failed and "edits" not in made:
            return [Move(a.sample, EDITS_ROUND, a, by="edits", hidden=True) for a in failed[: self.edits]]
        if solved(attempts):
            return []
        if self.forks and failed and "fork" not in made:
            places = range(self.forks)
            return [
                Move(a.sample, FIRST_FORK_ROUND + k, a, by="fork", place=k)
                for a in failed[: self.repairs]
                for k in places
            ]
        return self._repairs(task, attempts, failed)

    def _repairs(self, task: Task, attempts: Sequence[Attempt], failed: Sequence[Attempt]) -> list[Move]:
        before = self._rounds_before_repairs
        repairs = [attempt for attempt in attempts if attempt.kind == "repair"]
        last = max((attempt.round for attempt in repairs), default=before)
        if last >= before + self.rounds:
            return []
        again = self._failed(task, [attempt for attempt in repairs if attempt.round == last]) if repairs else failed
        return [Move(a.sample, last + 1, a) for a in again[: self.repairs]]

    @property
    def _rounds_before_repairs(self) -> int:
        """Return how many rounds of a sample the searches may take."""
        return FIRST_FORK_ROUND - 1 + self.forks if self.forks else EDITS_ROUND if self.edits else 0

    def _failed(self, task: Task, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Return the honest failures, one of each code."""
        normalise = domain_of(task.domain).normalise
        fresh: dict[str, Attempt] = {}
        for attempt in attempts:
            if not attempt.passed and attempt.verdict.outcome not in SUSPICIOUS:
                fresh.setdefault(normalise(attempt.code), attempt)
        return list(fresh.values())


def _easy(attempt: Attempt) -> bool:
    return any(failure.error and failure.error.type in EASY_ERRORS for failure in attempt.public.failures[:1])
