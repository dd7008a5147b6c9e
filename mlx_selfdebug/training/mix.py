"""Make training pairs from attempts and bugs. A pair is a prompt and its target, the completion to learn. There are four kinds:

    kind     the prompt shows                                the target is
    repair   the task, a failed attempt and its facts        right code of the task
    bug      the task, a bug and its facts                   right code of the task
    direct   the task alone                                  right code of the task
    keep     the task and right code that passed             the same code

They are mixed, because training on repairs alone makes a model worse. Attempts that differ only in layout count once. The target of
a repair or bug pair is one of two things:

- Another right draft. It was written without sight of the failure, so a model that copies its prompt does not reach it.
- The right code that is nearest to the failed code. For a failed attempt this is the right code at the smallest edit distance,
  counted in lexical tokens. For a bug it is the minimal fix: the code that the bug was put into.
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
class _Failure:
    """A failed attempt of the model, and the right attempt on the same task whose code is nearest to it."""

    attempt: Attempt
    nearest: Attempt


@dataclass(frozen=True)
class _Material:
    """The attempts on one task from which pairs can be made. There are none if no right code of the task is known."""

    task: Task
    right: tuple[Attempt, ...]
    """The right attempts of the model. If it has none, the reference."""
    failures: tuple[_Failure, ...]
    """The model's own failures. Those that are nearest to right code come first."""
    bugs: tuple[Attempt, ...]
    """The bugs that were put into right code of the task."""

    @property
    def has_only_reference(self) -> bool:
        """Whether the only right code is the reference."""
        return any(attempt.arm == REFERENCE for attempt in self.right)


def make_pairs(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[Pair]:
    """Return the training pairs in a seeded order. The same attempts give the same pairs, whatever order they are given in.

    Args:
        attempts: the attempts and bugs on all tasks.
        tasks: the tasks to make pairs for.
        config: the settings of training, of which the shares of the kinds and ``max_pairs`` matter here, among others.
        seed: decides which targets are chosen, what is blanked, and the order.
    """
    by_task = [_material(task, [a for a in attempts if a.task_id == task.id], config) for task in tasks]
    # Tasks that also have failed attempts come first, so that direct and keep pairs are taken from these before others.
    solved = sorted((material for material in by_task if material.right), key=lambda material: not material.failures)
    rng = random.Random(seed)
    writer = _PairWriter(config, rng, solved)
    candidates: dict[PairKind, list[Pair]] = {"repair": [], "bug": [], "direct": [], "keep": []}
    # Tasks of which only the reference is right come last: their pairs fill up what the model's own code leaves open.
    for only_reference in (False, True):
        group = [material for material in solved if material.has_only_reference == only_reference]
        candidates["repair"] += [
            writer.repair(material, failure) for material in group for failure in material.failures
        ]
        candidates["bug"] += _round_robin([writer.bug(material, bug) for bug in material.bugs] for material in group)
        candidates["direct"] += _round_robin([_direct(m.task, right) for right in m.right] for m in group)
        candidates["keep"] += _round_robin([_keep(m.task, right) for right in m.right] for m in group)
    available = {kind: len(pairs) for kind, pairs in candidates.items()}
    chosen = [pair for kind, n in _counts(available, config).items() for pair in candidates[kind][:n]]
    rng.shuffle(chosen)
    return chosen


def reference_pairs(tasks: Iterable[Task]) -> list[Pair]:
    """Return direct pairs whose targets are the references of ``tasks``, for trying out a training without a run's attempts."""
    return [_direct(task, _reference(task, task.reference)) for task in tasks]


def _material(task: Task, attempts: Sequence[Attempt], config: TrainConfig) -> _Material:
    """Return what pairs of ``task`` can be made from, given all ``attempts`` on it."""
    domain = domain_of(task.domain)
    bugs = tuple(distinct([a for a in attempts if a.arm == planting.ARM], task))
    own = distinct([a for a in attempts if a.arm != planting.ARM], task)
    right = [attempt for attempt in own if attempt.passed and attempt.public.passed]
    if not right and config.targets == "reference" and task.reference:
        right = [_reference(task, plain_source(task.reference, task.entry_point) or task.reference)]
    if not right:
        return _Material(task, (), (), ())
    right_tokens = [domain.tokens(attempt.code) for attempt in right]
    failures = []
    for attempt in own:
        if not attempt.passed and _is_usable(attempt):
            tokens = domain.tokens(attempt.code)
            distance, i = min((Levenshtein.distance(tokens, other), i) for i, other in enumerate(right_tokens))
            failures.append((distance, attempt.id, _Failure(attempt, right[i])))
    failures.sort(key=lambda item: item[:2])
    nearest = tuple(failure for _, _, failure in failures[: config.failed_per_task])
    return _Material(task, tuple(right), nearest, bugs[: config.failed_per_task])


def _reference(task: Task, code: str) -> Attempt:
    """Return ``code``, the task's reference, as an attempt that is taken to be right without being run."""
    passed = Verdict("passed")
    return Attempt(task.id, REFERENCE, 0, 0, "", "", "", code, passed, passed, 0, 0, 0, "given", kind="given")


def _is_usable(attempt: Attempt) -> bool:
    """Return whether a failure can be learned from: it is an honest program and was not cut off at the token limit."""
    return attempt.verdict.outcome not in SUSPICIOUS and attempt.finish != "length"


def _counts(available: Mapping[PairKind, int], config: TrainConfig) -> dict[PairKind, int]:
    """Return how many pairs of each kind to take, at most ``train.max_pairs`` in all.

    Repair and bug pairs lead. As many of them are taken as there are, within their shares of ``max_pairs``. If one of the two kinds
    runs short, the other takes its place. Direct and keep pairs are added in proportion to the leading pairs. If the shares of
    repair and bug pairs are both 0, direct pairs lead in the same way.

    For example, with shares of 0.4, 0.2, 0.2 and 0.2, ``max_pairs`` of 100, and 20 repair and 10 bug pairs available, the leading
    share is 0.6 and the total is 30 / 0.6 = 50. So 20 repair, 10 bug, 10 direct and 10 keep pairs are taken, if there are as many.
    """
    shares: dict[PairKind, float] = {
        "repair": config.repair_share, "bug": config.bug_share, "direct": config.direct_share, "keep": config.keep_share
    }  # fmt: skip
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    leading: list[PairKind] = [kind for kind in ("repair", "bug") if shares[kind]] or ["direct"]
    leading_share = sum(shares[kind] for kind in leading) / whole
    n_leading = sum(available[kind] for kind in leading)
    total = min(config.max_pairs, n_leading / leading_share) if leading_share else config.max_pairs
    counts = {kind: min(available[kind], round(total * shares[kind] / whole)) for kind in shares}
    for kind in leading:
        n_missing = round(total * leading_share) - sum(counts[other] for other in leading)
        counts[kind] += max(0, min(n_missing, available[kind] - counts[kind]))
    # Each kind was rounded by itself, so there may be a few too many.
    while sum(counts.values()) > config.max_pairs:
        counts[max(counts, key=lambda kind: counts[kind])] -= 1
    return counts


class _PairWriter:
    """The writer of repair and bug pairs. It shows facts, blanks lines and chooses targets as the settings say."""

    def __init__(self, config: TrainConfig, rng: random.Random, by_task: Sequence[_Material]) -> None:
        self._config, self._rng = config, rng
        self._failed: list[Attempt] = []
        for material in by_task:
            self._failed += [*(failure.attempt for failure in material.failures), *material.bugs]
        self._places = {attempt.id: i for i, attempt in enumerate(self._failed)}

    def repair(self, material: _Material, failure: _Failure) -> Pair:
        """Return the pair that shows a failure of the model."""
        prompt = self._prompt(material.task, failure.attempt)
        right = self._another_draft(material, failure.nearest) or failure.nearest
        return _pair("repair", material.task, prompt, right.code, failure.attempt, right)

    def bug(self, material: _Material, bug: Attempt) -> Pair:
        """Return the pair that shows a bug."""
        task = material.task
        # A bug in the reference has no attempt as its parent. Its origin is the first right code: the reference itself, unless
        # the task has been solved as well.
        origin = next((right for right in material.right if right.id == bug.parent), material.right[0])
        prompt = self._prompt(task, bug)
        if other := self._another_draft(material, origin):
            return _pair("bug", task, prompt, other.code, bug, other)
        # The fix is laid out as the bug is, so that the bug is all that differs between them.
        return _pair("bug", task, prompt, plain_source(origin.code, task.entry_point), bug, origin)

    def _prompt(self, task: Task, failed: Attempt) -> str:
        """Return the prompt that shows a failed attempt or a bug."""
        config, rng = self._config, self._rng
        max_facts = 1 if rng.random() < config.hide_facts_share else MAX_FACTS
        is_blanked = rng.random() < config.blank_share
        shown = replace(failed, code=_blank_lines(failed.code, rng)) if is_blanked else failed
        facts_of = self._failure_of_another_task(failed) if config.facts == "other" else shown
        feedback = CODE_ONLY if config.facts == "none" or facts_of is None else EVERYTHING
        domain = domain_of(task.domain)
        return domain.repair_prompt(task, shown, max_facts=max_facts, feedback=feedback, facts_of=facts_of)

    def _another_draft(self, material: _Material, nearest: Attempt) -> Attempt | None:
        """Draw right code of the task other than ``nearest``. Return None if there is none, or if ``nearest`` is to be used."""
        others = [right for right in material.right if right is not nearest]
        return self._rng.choice(others) if others and self._rng.random() >= self._config.minimal_share else None

    def _failure_of_another_task(self, failed: Attempt) -> Attempt | None:
        """Return the next failed attempt or bug that belongs to another task, or None if there is none."""
        place = self._places[failed.id]
        following = (*self._failed[place + 1 :], *self._failed[:place])
        return next((attempt for attempt in following if attempt.task_id != failed.task_id), None)


def _blank_lines(code: str, rng: random.Random) -> str:
    """Return ``code`` with some consecutive lines, never the first, replaced by one "..." that is indented like them."""
    lines = code.strip("\n").split("\n")
    if len(lines) < 3:
        return code
    n = rng.randint(1, max(1, round(len(lines) * MAX_BLANKED_SHARE)))
    start = rng.randint(1, len(lines) - n)
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    return "\n".join([*lines[:start], f"{indent}...", *lines[start + n :]]) + "\n"


def _direct(task: Task, right: Attempt) -> Pair:
    """Return the pair that shows only the task."""
    return _pair("direct", task, domain_of(task.domain).prompt(task), right.code, right)


def _keep(task: Task, right: Attempt) -> Pair:
    """Return the pair that shows right code, which is to be left as it is."""
    return _pair("keep", task, domain_of(task.domain).repair_prompt(task, right), right.code, right)


def _pair(kind: PairKind, task: Task, prompt: str, target: str, *attempts: Attempt) -> Pair:
    """Return a pair that was made from ``attempts``. The code ``target`` is put into the form of a completion."""
    ids = tuple(attempt.id for attempt in attempts if attempt.arm != REFERENCE)
    domain = domain_of(task.domain)
    # Self-distillation imitates the base on the prompt of the task alone. The target of a keep pair only answers a prompt that
    # shows its code, so for it the base is not imitated.
    task_prompt = "" if kind == "keep" else domain.prompt(task)
    return Pair(kind, task.domain, task.id, prompt, domain.completion(target), ids, task_prompt)


def _round_robin(groups: Iterable[Sequence[Pair]]) -> list[Pair]:
    """Return the first pair of each group, then the second of each, and so on, so that no task crowds out the others."""
    return [pair for row in zip_longest(*groups) for pair in row if pair is not None]
