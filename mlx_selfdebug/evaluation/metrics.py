"""Compute metrics of attempts: pass@k, problems solved against tokens and attempts, what repairs change, and what they copy.

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
    """A number of things and how many of them count, such as problems and problems solved."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share as a number from 0 to 1; None where ``total`` is 0."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True)
class Point:
    """A point of a step curve: ``solved`` problems once every task may take ``tokens`` tokens, up to the next point."""

    tokens: int
    solved: int


@dataclass(frozen=True)
class Transitions:
    """Numbers of problems by whether the first draft and the answer are right."""

    kept: int
    """Right in both."""
    fixed: int
    """Wrong in the first draft, right in the answer."""
    broken: int
    """Right in the first draft, wrong in the answer."""
    unsolved: int
    """Wrong in both."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of the chance that at least one of ``k`` drafts is right (Chen et al. 2021).

    It is estimated from ``n`` independent drafts, of which ``c`` are right. Attempts that stop at the first right one are not
    independent, so it must not be used for them. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} drafts of which {c} are right")
    return 1.0 - prod((n - c - i) / (n - i) for i in range(k)) if n - c >= k else 1.0


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Return the mean of pass@k over tasks, each given as (drafts, right drafts). Raises ValueError if there is no task."""
    values = [pass_at_k(n, c, k) for n, c in counts]
    if not values:
        raise ValueError("the mean of pass@k needs at least one task")
    return sum(values) / len(values)


def solved_by_tokens(made: Mapping[str, Sequence[Attempt]], max_tokens: int) -> tuple[Point, ...]:
    """Return the curve of problems solved against generated tokens per task, up to ``max_tokens``.

    At each number of tokens the problems are counted whose answer within that number is right. A task whose first draft takes
    more tokens is not solved there, whereas ``arms.answer`` would count that draft. The curve may fall, since an answer may go
    from right to wrong as attempts are added. There is a point at 0 and one at every change.
    """
    changes: dict[int, int] = {0: 0}
    for attempts in made.values():
        right, used = False, 0
        for i, attempt in enumerate(attempts):
            used += attempt.n_completion_tokens
            if used > max_tokens:
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


def solved_after(made: Mapping[str, Sequence[Attempt]], max_tokens: int) -> tuple[int, ...]:
    """Return the problems solved after one attempt per task, after two, and so on, within ``max_tokens`` tokens per task."""
    longest = max(map(len, made.values()), default=0)
    answers = [
        [answer(attempts[:n], max_tokens).passed for n in range(1, len(attempts) + 1)] for attempts in made.values()
    ]
    return tuple(sum(given[min(n, len(given)) - 1] for given in answers) for n in range(1, longest + 1))


def transitions(first: Mapping[str, Attempt], answers: Mapping[str, Attempt]) -> Transitions:
    """Count the tasks by whether first draft and answer pass the hidden checks; both are given by task id."""
    pairs = [(first[id_].passed, given.passed) for id_, given in answers.items()]
    return Transitions(*(pairs.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))))


class Codes:
    """Compares codes of one domain. Each code is normalised and split into tokens once, since it may be compared many times."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._normal: dict[str, bytes] = {}
        self._tokens: dict[str, Sequence[str]] = {}

    def same(self, before: str, after: str) -> bool:
        """Return whether both codes are the same apart from layout, comments and docstrings."""
        return before == after or self._normalised(before) == self._normalised(after)

    def distance(self, before: str, after: str) -> int:
        """Return the number of lexical tokens to insert, delete or replace (Levenshtein 1966)."""
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
    """Figures of the attempts that the model wrote after another attempt on the same task."""

    copies: Share
    """Retries that repeat the code before them. For blind drafts, which are shown nothing, this is the rate of chance."""
    edit_tokens: float | None
    """The median number of lexical tokens that the other retries changed; None where there are no others."""


def retries(made: Mapping[str, Sequence[Attempt]], codes_of: Callable[[Attempt], Codes]) -> Retries:
    """Compare every attempt that the model wrote after a task's first with the attempt it was made from, or else the one before.

    Searches for an edit, and searches that found nothing, are left out because the model did not write their code.
    """
    pairs = [pair for attempts in made.values() for pair in _retried(attempts)]
    changed = [(before, after) for before, after in pairs if not codes_of(after).same(before.code, after.code)]
    edits = [codes_of(after).distance(before.code, after.code) for before, after in changed]
    return Retries(Share(len(pairs) - len(changed), len(pairs)), median(edits) if edits else None)


def _retried(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt]]:
    by_id = {attempt.id: attempt for attempt in attempts}
    written = [a for a in attempts if a.kind != "edits" and a.finish != EXHAUSTED]
    pairs = [(by_id.get(after.parent, before), after) for before, after in pairwise(written)]
    # A draft that follows a given program is the model's first attempt on the task, so it is no retry.
    return [(before, after) for before, after in pairs if after.parent or before.kind != "given"]


def wrong_accepted(answers: Iterable[Attempt]) -> Share:
    """Return, of the answers that pass the public checks, the share that fails hidden ones.

    Nobody would have looked at such an answer again, so it counts as wrongly accepted. Answers without a public check are left out.
    """
    accepted = [given for given in answers if given.public.passed and given.public.n_checks]
    return Share(sum(not given.passed for given in accepted), len(accepted))


def error_kind(attempt: Attempt) -> str:
    """Return how an attempt failed: "wrong answer", the type of the exception, or the outcome in words; "" if it passed.

    The exception is the one that the program raised, or that kept it from being loaded. The public checks decide, since a repair is
    told of those, and the hidden checks only where the public ones passed.
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
    """Return the share of tasks solved per group, largest group first. ``groups`` gives each task's group."""
    members: dict[str, list[str]] = {}
    for id_, group in groups.items():
        members.setdefault(group, []).append(id_)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return {group: Share(sum(id_ in solved for id_ in ids), len(ids)) for group, ids in ordered}


def by_length(solved: Collection[str], sizes: Mapping[str, int]) -> dict[str, Share]:
    """Return the share of tasks solved per third of the reference's length, a measure of difficulty that no model influences."""
    shares = by_group(solved, thirds(sizes))
    return {name: shares[name] for name in LENGTHS if name in shares}


def thirds(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return by task id in which third of the set its size lies. Tasks of equal size all go where the middle one of them goes."""
    ordered = sorted(sizes.values())
    middle = {size: (bisect_left(ordered, size) + bisect_right(ordered, size)) / 2 for size in set(ordered)}
    return {id_: LENGTHS[min(2, int(3 * middle[size] / len(ordered)))] for id_, size in sizes.items()}
