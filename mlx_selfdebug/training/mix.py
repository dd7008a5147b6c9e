"""Make training pairs from attempts and bugs: choose the failed code to show, its target, and how many pairs of each kind to take.

Attempts that differ only in layout count once. A target is right code of the same task, never a wrong program. It may be as near
as possible to the code that failed: for a failed attempt that is the *nearest* right code, by token edit distance, and for a bug,
which was put into right code, its minimal fix. Or it is another right draft. That draft was written without sight of the failure,
so copying the prompt does not give it.

Repair, bug, direct and keep pairs are mixed, because training on repairs alone makes a model worse.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rapidfuzz.distance import Levenshtein

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.bugs import plain_source
from mlx_selfdebug.repair.judging import distinct
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import CODE_ONLY, EVERYTHING, MAX_FACTS
from mlx_selfdebug.values.pair import Pair, PairKind
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import SUSPICIOUS, Verdict

MAX_BLANKED_SHARE = 1 / 3
"""The largest share of a failed program's lines that is blanked."""
REFERENCE = "reference"
"""The arm of the attempt that stands for a task's reference. Such an attempt is never stored."""


@dataclass(frozen=True)
class _TaskAttempts:
    """The attempts on one task from which pairs can be made; all are empty if no right code of the task is known.

    Each failed attempt comes with the right one nearest to it, and the nearest of these couples come first.
    """

    task: Task
    right: tuple[Attempt, ...]
    failed: tuple[tuple[Attempt, Attempt], ...]
    bugs: tuple[Attempt, ...]

    @property
    def by_reference(self) -> bool:
        """Whether the only right code is the reference."""
        return any(attempt.arm == REFERENCE for attempt in self.right)


def make_pairs(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[Pair]:
    """Return the training pairs in a seeded order. The same attempts give the same pairs, whatever order they are given in."""
    by_task = [_attempts_on(task, [a for a in attempts if a.task_id == task.id], config) for task in tasks]
    # Tasks that also have failed attempts come first, so that direct and keep pairs are taken from these before others.
    sources = sorted((source for source in by_task if source.right), key=lambda source: not source.failed)
    rng = random.Random(seed)
    writer = _PairWriter(config, rng, sources)
    candidates: dict[PairKind, list[Pair]] = {"repair": [], "bug": [], "direct": [], "keep": []}
    # References fill up only what the model's own code leaves open.
    for by_reference in (False, True):
        group = [source for source in sources if source.by_reference == by_reference]
        candidates["repair"] += [writer.repair(source, bad, near) for source in group for bad, near in source.failed]
        candidates["bug"] += _round_robin([writer.bug(source, bug) for bug in source.bugs] for source in group)
        candidates["direct"] += _round_robin([_direct(source.task, code) for code in source.right] for source in group)
        candidates["keep"] += _round_robin([_keep(source.task, code) for code in source.right] for source in group)
    available = {kind: len(of_kind) for kind, of_kind in candidates.items()}
    pairs = [pair for kind, n in _counts(available, config).items() for pair in candidates[kind][:n]]
    rng.shuffle(pairs)
    return pairs


def reference_pairs(tasks: Iterable[Task]) -> list[Pair]:
    """Return direct pairs whose targets are the references of ``tasks``, for trying out a training without a run's attempts."""
    return [_direct(task, _reference(task, task.reference)) for task in tasks]


def _counts(available: Mapping[PairKind, int], config: TrainConfig) -> dict[PairKind, int]:
    """Return how many pairs of each kind to take: at most ``max_pairs`` in all.

    Repair and bug pairs lead. As many are taken as there are, within their shares of ``max_pairs``, and if one kind runs short, the
    other takes its place. Direct and keep pairs are added in proportion to them. If the shares of repair and bug pairs are both 0,
    direct pairs lead in the same way.
    """
    shares: dict[PairKind, float] = {
        "repair": config.repair_share, "bug": config.bug_share, "direct": config.direct_share, "keep": config.keep_share
    }  # fmt: skip
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    leading: list[PairKind] = [kind for kind in ("repair", "bug") if shares[kind]] or ["direct"]
    share = sum(shares[kind] for kind in leading) / whole
    n_leading = sum(available[kind] for kind in leading)
    total = min(config.max_pairs, n_leading / share) if share else config.max_pairs
    counts = {kind: min(available[kind], round(total * shares[kind] / whole)) for kind in shares}
    for kind in leading:
        missing = round(total * share) - sum(counts[other] for other in leading)
        counts[kind] += max(0, min(missing, available[kind] - counts[kind]))
    while sum(counts.values()) > config.max_pairs:  # each kind was rounded by itself
        counts[max(counts, key=lambda kind: counts[kind])] -= 1
    return counts


def _attempts_on(task: Task, attempts: Sequence[Attempt], config: TrainConfig) -> _TaskAttempts:
    domain = domain_of(task.domain)
    bugs = tuple(distinct([a for a in attempts if a.arm == planting.ARM], task))
    own = distinct([a for a in attempts if a.arm != planting.ARM], task)
    right = [attempt for attempt in own if attempt.passed and attempt.public.passed]
    if not right and config.targets == "reference" and task.reference:
        right = [_reference(task, plain_source(task.reference, task.entry_point) or task.reference)]
    if not right:
        return _TaskAttempts(task, (), (), ())
    tokens = [domain.tokens(attempt.code) for attempt in right]
    nearest = []
    for bad in own:
        if not bad.passed and _usable(bad):
            tokens_of_bad = domain.tokens(bad.code)
            distance, i = min((Levenshtein.distance(tokens_of_bad, other), i) for i, other in enumerate(tokens))
            nearest.append((distance, bad.id, bad, right[i]))
    nearest.sort(key=lambda item: item[:2])
    failed = tuple((bad, good) for _, _, bad, good in nearest[: config.failed_per_task])
    return _TaskAttempts(task, tuple(right), failed, bugs[: config.failed_per_task])


def _reference(task: Task, code: str) -> Attempt:
    """Return ``code``, the task's reference, as an attempt that is taken to be right without being run."""
    passed = Verdict("passed")
    return Attempt(task.id, REFERENCE, 0, 0, "", "", "", code, passed, passed, 0, 0, 0, "given", kind="given")


def _usable(attempt: Attempt) -> bool:
    """Return whether a failure can be learned from: it is an honest program and was not cut off at the token limit."""
    return attempt.verdict.outcome not in SUSPICIOUS and attempt.finish != "length"


class _PairWriter:
    """The writer of repair and bug pairs. It shows facts, blanks lines and chooses targets as the settings say."""

    def __init__(self, config: TrainConfig, rng: random.Random, sources: Sequence[_TaskAttempts]) -> None:
        self._config, self._rng = config, rng
        self._all = [attempt for source in sources for attempt in (*(bad for bad, _ in source.failed), *source.bugs)]
        self._places = {attempt.id: i for i, attempt in enumerate(self._all)}

    def repair(self, source: _TaskAttempts, bad: Attempt, nearest: Attempt) -> Pair:
        """Return the pair of an own failure, whose nearest right code is ``nearest``."""
        prompt = self._prompt(source.task, bad)
        right = self._another_draft(source, nearest) or nearest
        return _pair("repair", source.task, prompt, right.code, bad, right)

    def bug(self, source: _TaskAttempts, bug: Attempt) -> Pair:
        """Return the pair of a bug that was put into right code."""
        task = source.task
        # A bug in the reference has no attempt as its parent. Its origin is the first right code: the reference itself, unless
        # the task has been solved as well.
        origin = next((right for right in source.right if right.id == bug.parent), source.right[0])
        prompt = self._prompt(task, bug)
        if other := self._another_draft(source, origin):
            return _pair("bug", task, prompt, other.code, bug, other)
        # The fix is laid out as the bug is, so that the bug is all that differs between them.
        return _pair("bug", task, prompt, plain_source(origin.code, task.entry_point), bug, origin)

    def _prompt(self, task: Task, bad: Attempt) -> str:
        """Return the prompt that shows a failed attempt."""
        config, rng = self._config, self._rng
        facts = 1 if rng.random() < config.hide_facts_share else MAX_FACTS
        blanked = rng.random() < config.blank_share
        shown = replace(bad, code=_blanked(bad.code, rng)) if blanked else bad
        facts_of = self._of_another_task(bad) if config.facts == "other" else shown
        feedback = CODE_ONLY if config.facts == "none" or facts_of is None else EVERYTHING
        return domain_of(task.domain).repair_prompt(task, shown, max_facts=facts, feedback=feedback, facts_of=facts_of)

    def _another_draft(self, source: _TaskAttempts, near: Attempt) -> Attempt | None:
        """Draw right code of the task other than ``near``. Return None if there is none, or if ``near`` is to be the target."""
        others = [right for right in source.right if right is not near]
        return self._rng.choice(others) if others and self._rng.random() >= self._config.minimal_share else None

    def _of_another_task(self, bad: Attempt) -> Attempt | None:
        """Return the next failed attempt that is of another task, or None if there is none."""
        place = self._places[bad.id]
        following = (*self._all[place + 1 :], *self._all[:place])
        return next((attempt for attempt in following if attempt.task_id != bad.task_id), None)


def _blanked(code: str, rng: random.Random) -> str:
    """Return ``code`` with some consecutive lines, never the first, replaced by one "..." that is indented like them."""
    lines = code.strip("\n").split("\n")
    if len(lines) < 3:
        return code
    n = rng.randint(1, max(1, round(len(lines) * MAX_BLANKED_SHARE)))
    start = rng.randint(1, len(lines) - n)
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    return "\n".join([*lines[:start], f"{indent}...", *lines[start + n :]]) + "\n"


def _direct(task: Task, right: Attempt) -> Pair:
    return _pair("direct", task, domain_of(task.domain).prompt(task), right.code, right)


def _keep(task: Task, right: Attempt) -> Pair:
    return _pair("keep", task, domain_of(task.domain).repair_prompt(task, right), right.code, right)


def _pair(kind: PairKind, task: Task, prompt: str, target: str, *made_of: Attempt) -> Pair:
    ids = tuple(attempt.id for attempt in made_of if attempt.arm != REFERENCE)
    domain = domain_of(task.domain)
    task_prompt = "" if kind == "keep" else domain.prompt(task)
    return Pair(kind, task.domain, task.id, prompt, domain.completion(target), ids, task_prompt)


def _round_robin(groups: Iterable[Sequence[Pair]]) -> list[Pair]:
    """Return the first pair of each group, then the second of each, and so on, so that no task crowds out the others."""
    return [pair for row in zip_longest(*groups) for pair in row if pair is not None]
