"""From attempts to pairs: which failed code is shown, which passing code is the target, and in what proportion.

The recipe: attempts that differ in layout alone count once; every failed attempt of a task is paired with the *nearest*
passing code of the same task (token edit distance), never with a wrong one; repair, direct and keep pairs are mixed, because
training on repairs alone makes a model worse. All targets are the model's own code.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rapidfuzz.distance import Levenshtein

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.sandbox.verdict import SUSPICIOUS
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.training.pair import Pair

FACTS_SHOWN = 3


@dataclass(frozen=True)
class _Solved:
    """A task with at least one passing attempt; ``failed`` in order of their distance to the nearest passing one."""

    task: Task
    passing: tuple[Attempt, ...]
    failed: tuple[tuple[Attempt, Attempt], ...]


def make_pairs(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[Pair]:
    """The training pairs, in a seeded order. Deterministic: the same attempts give the same pairs."""
    solved = [_solved(task, [a for a in attempts if a.task_id == task.id], config.failed_per_task) for task in tasks]
    mixed_first = sorted((s for s in solved if s.passing), key=lambda s: not s.failed)
    rng = random.Random(seed)
    candidates = {
        "repair": [_repair(s.task, bad, good, config, rng) for s in mixed_first for bad, good in s.failed],
        "direct": _round_robin([_direct(s.task, a) for a in s.passing] for s in mixed_first),
        "keep": _round_robin([_keep(s.task, a) for a in s.passing] for s in mixed_first),
    }
    pairs = [pair for kind, n in _counts(candidates, config).items() for pair in candidates[kind][:n]]
    rng.shuffle(pairs)
    return pairs


def reference_pairs(tasks: Iterable[Task]) -> list[Pair]:
    """Direct pairs to the references: for trying out; the loop itself learns from the model's own code alone."""
    pairs = []
    for task in tasks:
        domain = domain_of(task.domain)
        pairs.append(Pair("direct", task.domain, task.id, domain.prompt(task), domain.completion(task.reference), ()))
    return pairs


def _counts(candidates: dict[str, list[Pair]], config: TrainConfig) -> dict[str, int]:
    """How many pairs of each kind: as many repairs as there are, the others in proportion, at most ``max_pairs`` in all."""
    shares = {"repair": config.repair_share, "direct": config.direct_share, "keep": config.keep_share}
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    leading = "repair" if shares["repair"] else "direct"
    share = shares[leading] / whole
    total = min(config.max_pairs, len(candidates[leading]) / share) if share else config.max_pairs
    return {kind: min(len(candidates[kind]), round(total * shares[kind] / whole)) for kind in shares}


def _solved(task: Task, attempts: Sequence[Attempt], most: int) -> _Solved:
    domain = domain_of(task.domain)
    different = distinct(attempts, task)
    passing = [a for a in different if a.passed and a.public.passed]
    failed = [a for a in different if not a.passed and _usable(a)]
    if not passing:
        return _Solved(task, (), ())
    tokens = {a.id: domain.tokens(a.code) for a in different}
    nearest = [(a, *_nearest(a, passing, tokens)) for a in failed]
    nearest.sort(key=lambda item: (item[2], item[0].id))
    return _Solved(task, tuple(passing), tuple((bad, good) for bad, good, _ in nearest[:most]))


def _usable(attempt: Attempt) -> bool:
    """A failure to learn from: an honest program, and a whole one."""
    return attempt.verdict.outcome not in SUSPICIOUS and attempt.finish != "length"


def distinct(attempts: Iterable[Attempt], task: Task) -> list[Attempt]:
    """Of attempts on ``task`` that differ in layout alone, the first."""
    domain = domain_of(task.domain)
    seen: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda a: (a.round, a.sample)):
        seen.setdefault(domain.normalise(attempt.code), attempt)
    return list(seen.values())


def _nearest(bad: Attempt, passing: Sequence[Attempt], tokens: dict[str, Sequence[str]]) -> tuple[Attempt, int]:
    distances = [(Levenshtein.distance(tokens[bad.id], tokens[good.id]), i) for i, good in enumerate(passing)]
    distance, i = min(distances)
    return passing[i], distance


def _repair(task: Task, bad: Attempt, good: Attempt, config: TrainConfig, rng: random.Random) -> Pair:
    domain = domain_of(task.domain)
    facts = 1 if rng.random() < config.hide_facts_share else FACTS_SHOWN
    prompt = domain.repair_prompt(task, bad, max_facts=facts)
    return Pair("repair", task.domain, task.id, prompt, domain.completion(good.code), (bad.id, good.id))


def _direct(task: Task, good: Attempt) -> Pair:
    domain = domain_of(task.domain)
    return Pair("direct", task.domain, task.id, domain.prompt(task), domain.completion(good.code), (good.id,))


def _keep(task: Task, good: Attempt) -> Pair:
    domain = domain_of(task.domain)
    return Pair(
        "keep", task.domain, task.id, domain.repair_prompt(task, good), domain.completion(good.code), (good.id,)
    )


def _round_robin(groups: Iterable[Sequence[Pair]]) -> list[Pair]:
    """The first of each group, then the second of each, ...: few tasks never crowd out many."""
    return [pair for row in zip_longest(*groups) for pair in row if pair is not None]
