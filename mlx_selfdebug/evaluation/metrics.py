"""What is counted of attempts: pass@k, problems solved against tokens and attempts, what repairs change, what they copy.

>>> round(pass_at_k(n=8, c=2, k=4), 4)
0.7857
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import pairwise
from math import prod
from statistics import median

from rapidfuzz.distance import Levenshtein

from mlx_selfdebug.domains import Domain
from mlx_selfdebug.evaluation.arms import answer
from mlx_selfdebug.repair.policies import EXHAUSTED
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.verdict import Verdict

LENGTHS = ("short", "middle", "long")


@dataclass(frozen=True)
class Share:
    count: int
    total: int

    @property
    def value(self) -> float | None:
        """None of nothing."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True)
class Point:
    """Problems solved once every task may take so many ``tokens``, up to the next point."""

    tokens: int
    solved: int


@dataclass(frozen=True)
class Transitions:
    """From first draft to answer: right and still right, wrong and right, right and wrong, wrong and still wrong."""

    kept: int
    fixed: int
    broken: int
    unsolved: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of ``k`` drafts is right, without bias from ``n`` independent ones of which ``c`` are (Chen et al. 2021).

    Not for attempts that were stopped at the first right one: those are no independent drafts. Raises ValueError.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be had of {n} drafts, {c} of them right")
    return 1.0 - prod((n - c - i) / (n - i) for i in range(k)) if n - c >= k else 1.0


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Mean over tasks, each given as (drafts, right ones). Raises ValueError if there is none."""
    values = [pass_at_k(n, c, k) for n, c in counts]
    if not values:
        raise ValueError("no task to take the mean of")
    return sum(values) / len(values)


def solved_by_tokens(made: Mapping[str, Sequence[Attempt]], most: int) -> tuple[Point, ...]:
    """Problems solved against tokens a task, up to ``most``: at each number those whose answer within it is right.

    A task whose first draft takes more is not solved there; ``arms.answer`` would count that draft. An answer may go from right
    to wrong as attempts are added, so the curve may fall. There is a point at 0 and one at every change.
    """
    changes: dict[int, int] = {0: 0}
    for attempts in made.values():
        right, used = False, 0
        for i, attempt in enumerate(attempts):
            used += attempt.n_completion_tokens
            if used > most:
                break
            now = answer(attempts[: i + 1], used).passed
            changes[used] = changes.get(used, 0) + now - right
            right = now
            if attempt.public.passed:
                break
    points: list[Point] = []
    solved = 0
    for tokens in sorted(changes):
        solved += changes[tokens]
        if not points or solved != points[-1].solved:
            points.append(Point(tokens, solved))
    return tuple(points)


def solved_after(made: Mapping[str, Sequence[Attempt]], most: int) -> tuple[int, ...]:
    """Problems solved by the answer after one attempt a task, after two, ..., within ``most`` tokens a task."""
    longest = max(map(len, made.values()), default=0)
    answers = [[answer(attempts[:n], most).passed for n in range(1, len(attempts) + 1)] for attempts in made.values()]
    return tuple(sum(given[min(n, len(given)) - 1] for given in answers) for n in range(1, longest + 1))


def transitions(first: Mapping[str, Attempt], answers: Mapping[str, Attempt]) -> Transitions:
    """By task, on hidden checks."""
    pairs = [(first[id_].passed, given.passed) for id_, given in answers.items()]
    return Transitions(*(pairs.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))))


class Codes:
    """Codes of one domain, each read once: is one a copy of another, and how far are they apart?"""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._normal: dict[str, bytes] = {}
        self._tokens: dict[str, Sequence[str]] = {}

    def same(self, before: str, after: str) -> bool:
        """The same code but for layout, comments and docstrings."""
        return before == after or self._normalised(before) == self._normalised(after)

    def distance(self, before: str, after: str) -> int:
        """Lexical tokens to insert, delete or replace (Levenshtein 1966)."""
        return int(Levenshtein.distance(self._tokens_of(before), self._tokens_of(after)))

    def _normalised(self, code: str) -> bytes:
        if code not in self._normal:
            text = self._domain.normalise(code).encode("utf-8", "surrogatepass")
            self._normal[code] = sha1(text, usedforsecurity=False).digest()
        return self._normal[code]

    def _tokens_of(self, code: str) -> Sequence[str]:
        if code not in self._tokens:
            self._tokens[code] = self._domain.tokens(code)
        return self._tokens[code]


@dataclass(frozen=True)
class Retries:
    """Of what the model wrote after another attempt: how often it said the same again, and the median edit of the others.

    For a blind draft, which was shown nothing, ``copies`` is how often that happens by itself. ``edit_tokens`` is None where
    there is no other.
    """

    copies: Share
    edit_tokens: float | None


def retries(made: Mapping[str, Sequence[Attempt]], codes_of: Callable[[Attempt], Codes]) -> Retries:
    """Every attempt that the model wrote after a task's first, with the one it was made of, or else the one before it.

    Searches for an edit, and those that found nothing, are no words of the model.
    """
    pairs = [pair for attempts in made.values() for pair in _retried(attempts)]
    changed = [(before, after) for before, after in pairs if not codes_of(after).same(before.code, after.code)]
    edits = [codes_of(after).distance(before.code, after.code) for before, after in changed]
    return Retries(Share(len(pairs) - len(changed), len(pairs)), median(edits) if edits else None)


def _retried(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt]]:
    by_id = {attempt.id: attempt for attempt in attempts}
    written = [a for a in attempts if a.kind != "edits" and a.finish != EXHAUSTED]
    pairs = [(by_id.get(after.parent, before), after) for before, after in pairwise(written)]
    # A draft after a given program is a first one.
    return [(before, after) for before, after in pairs if after.parent or before.kind != "given"]


def wrong_accepted(answers: Iterable[Attempt]) -> Share:
    """Of the answers that pass public checks, so that nobody would look further, those that fail hidden ones."""
    accepted = [given for given in answers if given.public.passed and given.public.n_checks]
    return Share(sum(not given.passed for given in accepted), len(accepted))


def error_kind(attempt: Attempt) -> str:
    """How it failed, as a repair is told of it: by its public checks, by hidden ones if it passed those. "" for one that passed.

    "wrong answer", the type of the exception it raised or could not be loaded for, or the outcome in words.
    """
    verdict = attempt.verdict if attempt.public.passed else attempt.public
    if verdict.passed:
        return ""
    return "wrong answer" if verdict.outcome == "failed" else _error_type(verdict) or verdict.outcome.replace("_", " ")


def _error_type(verdict: Verdict) -> str:
    if verdict.outcome not in ("raised", "load_error"):
        return ""
    return next((failure.error.type for failure in verdict.failures if failure.error), "")


def by_group(solved: Collection[str], groups: Mapping[str, str]) -> dict[str, Share]:
    """Of each group's tasks those solved; ``groups`` gives a task's group. The largest group first."""
    members: dict[str, list[str]] = {}
    for id_, group in groups.items():
        members.setdefault(group, []).append(id_)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return {group: Share(sum(id_ in solved for id_ in ids), len(ids)) for group, ids in ordered}


def by_length(solved: Collection[str], sizes: Mapping[str, int]) -> dict[str, Share]:
    """Of the tasks with a short, a middle and a long reference those solved: a difficulty that no model has a say in."""
    found = by_group(solved, thirds(sizes))
    return {name: found[name] for name in LENGTHS if name in found}


def thirds(sizes: Mapping[str, int]) -> dict[str, str]:
    """By task: in which third of the set its size is; equal sizes are all where the middle one of them is."""
    ordered = sorted(sizes.values())
    middle = {size: (bisect_left(ordered, size) + bisect_right(ordered, size)) / 2 for size in set(ordered)}
    return {id_: LENGTHS[min(2, int(3 * middle[size] / len(ordered)))] for id_, size in sizes.items()}
