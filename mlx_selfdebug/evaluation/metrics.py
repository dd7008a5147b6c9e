"""Compute metrics of attempts: pass@k, problems solved against tokens and attempts, and how much repairs change or copy.

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

LENGTHS = ("short", "middle", "long")
"""The names of the thirds of a set of tasks, by the length of the reference."""


@dataclass(frozen=True)
class Share:
    """A share as two numbers, such as the problems that are solved and all problems."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share as a number from 0 to 1; None if ``total`` is 0."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True)
class Point:
    """A point of a step curve, which stays at ``solved`` up to the next point."""

    tokens: int
    """The number of tokens that every task may take."""
    solved: int
    """The number of problems that are solved within these tokens."""


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
    independent, so the estimate does not hold for them. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
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


def solved_by_tokens(attempts_by_task: Mapping[str, Sequence[Attempt]], max_tokens: int) -> tuple[Point, ...]:
    """Return the curve of problems solved against generated tokens per task, up to ``max_tokens``.

    ``attempts_by_task`` gives the attempts on each task by its id. A problem counts as solved at a number of tokens if its answer
    within that number is right. A first draft that alone takes more tokens does not count there, although ``arms.answer`` would
    count it. The curve may fall, since an answer may go from right to wrong as attempts are added. There is a point at 0 and one
    at every change.
    """
    changes: dict[int, int] = {0: 0}
    for attempts in attempts_by_task.values():
        was_right, n_tokens = False, 0
        for i, attempt in enumerate(attempts):
            n_tokens += attempt.n_completion_tokens
            if n_tokens > max_tokens:
                break
            is_right = answer(attempts[: i + 1], n_tokens).passed
            changes[n_tokens] = changes.get(n_tokens, 0) + is_right - was_right
            was_right = is_right
            # The first attempt that passes the public checks is the answer, whatever follows it.
            if attempt.public.passed:
                break
    points: list[Point] = []
    solved = 0
    for tokens in sorted(changes):
        solved += changes[tokens]
        if not points or solved != points[-1].solved:
            points.append(Point(tokens, solved))
    return tuple(points)


def solved_after(attempts_by_task: Mapping[str, Sequence[Attempt]], max_tokens: int) -> tuple[int, ...]:
    """Return the number of problems solved after one attempt per task, after two, and so on.

    At most ``max_tokens`` tokens count per task. A task with fewer attempts keeps its last answer.
    """
    max_attempts = max(map(len, attempts_by_task.values()), default=0)
    right_after = [
        [answer(attempts[:n], max_tokens).passed for n in range(1, len(attempts) + 1)]
        for attempts in attempts_by_task.values()
    ]
    return tuple(sum(right[min(n, len(right)) - 1] for right in right_after) for n in range(1, max_attempts + 1))


def transitions(first: Mapping[str, Attempt], answers: Mapping[str, Attempt]) -> Transitions:
    """Count the tasks by whether first draft and answer pass the hidden checks. Both are given by task id."""
    pairs = [(first[id_].passed, answered.passed) for id_, answered in answers.items()]
    return Transitions(
        kept=pairs.count((True, True)),
        fixed=pairs.count((False, True)),
        broken=pairs.count((True, False)),
        unsolved=pairs.count((False, False)),
    )


class Codes:
    """A comparer of programs of one domain. It normalises each program and splits it into tokens only once."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._normal: dict[str, bytes] = {}
        self._tokens: dict[str, Sequence[str]] = {}

    def same(self, before: str, after: str) -> bool:
        """Return whether two programs are the same apart from layout, comments and docstrings."""
        return before == after or self._normalised(before) == self._normalised(after)

    def distance(self, before: str, after: str) -> int:
        """Return the number of lexical tokens to insert, delete or replace in ``before`` to get ``after`` (Levenshtein 1966)."""
        return int(Levenshtein.distance(self._tokens_of(before), self._tokens_of(after)))

    def _normalised(self, code: str) -> bytes:
        """Return a digest of the normalised program. A digest takes less memory than the program."""
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
    """The share of retries that repeat the code before them. For blind drafts, which are shown nothing, it is due to chance."""
    edit_tokens: float | None
    """The median number of lexical tokens that the other retries changed; None if there are no others."""


def retries(attempts_by_task: Mapping[str, Sequence[Attempt]], codes_of: Callable[[Attempt], Codes]) -> Retries:
    """Compare every retry with the attempt that it was made from or, if it is a fresh draft, with the attempt before it.

    ``attempts_by_task`` gives the attempts on each task by its id, and ``codes_of`` returns the comparer for an attempt's domain.
    Searches for an edit, and forks that found nothing, are left out, because the model did not write their code.
    """
    pairs = [pair for attempts in attempts_by_task.values() for pair in _retried(attempts)]
    changed = [(before, after) for before, after in pairs if not codes_of(after).same(before.code, after.code)]
    edits = [codes_of(after).distance(before.code, after.code) for before, after in changed]
    return Retries(Share(len(pairs) - len(changed), len(pairs)), median(edits) if edits else None)


def _retried(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt]]:
    """Return pairs for the retries on one task: the attempt with which a retry is compared, and the retry."""
    by_id = {attempt.id: attempt for attempt in attempts}
    written = [a for a in attempts if a.kind != "edits" and a.finish != EXHAUSTED]
    pairs = [(by_id.get(after.parent, before), after) for before, after in pairwise(written)]
    # A draft that follows a given program is the model's first attempt on the task, so it is no retry.
    return [(before, after) for before, after in pairs if after.parent or before.kind != "given"]


def wrong_accepted(answers: Iterable[Attempt]) -> Share:
    """Return the share of the answers that pass the public checks which fail a hidden one.

    Nobody would have looked at such an answer again, so it is wrongly accepted. Answers to tasks without public checks are left
    out.
    """
    accepted = [attempt for attempt in answers if attempt.public.passed and attempt.public.n_checks]
    return Share(sum(not attempt.passed for attempt in accepted), len(accepted))


def error_kind(attempt: Attempt) -> str:
    """Return how an attempt failed: "wrong answer", the type of the exception, or the outcome in words; "" if it passed.

    The exception is the one that the program raised, or that kept it from being loaded. The public checks decide, since a repair is
    told of their failures. The hidden checks decide only if the public ones passed.
    """
    verdict = attempt.verdict if attempt.public.passed else attempt.public
    if verdict.passed:
        return ""
    if verdict.outcome == "failed":
        return "wrong answer"
    error_type = ""
    if verdict.outcome in ("raised", "load_error"):
        error_type = next((failure.error.type for failure in verdict.failures if failure.error), "")
    return error_type or verdict.outcome.replace("_", " ")


def by_group(solved: Collection[str], groups: Mapping[str, str]) -> dict[str, Share]:
    """Return the share of tasks solved, by group, the largest group first. ``groups`` gives the group of each task by its id."""
    members: dict[str, list[str]] = {}
    for id_, group in groups.items():
        members.setdefault(group, []).append(id_)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return {group: Share(sum(id_ in solved for id_ in ids), len(ids)) for group, ids in ordered}


def by_length(solved: Collection[str], sizes: Mapping[str, int]) -> dict[str, Share]:
    """Return the share of tasks solved, by third of the reference's length (``LENGTHS``). ``sizes`` gives each task's length.

    The length is a measure of difficulty that no model influences.
    """
    shares = by_group(solved, thirds(sizes))
    return {name: shares[name] for name in LENGTHS if name in shares}


def thirds(sizes: Mapping[str, int]) -> dict[str, str]:
    """Return, by task id, the third of the set in which the task's size lies: "short", "middle" or "long".

    Tasks of equal size are all in the third in which the middle one of them lies.
    """
    ordered = sorted(sizes.values())

    def third(size: int) -> str:
        mean_rank = (bisect_left(ordered, size) + bisect_right(ordered, size)) / 2
        return LENGTHS[int(3 * mean_rank / len(ordered))]

    return {id_: third(size) for id_, size in sizes.items()}
