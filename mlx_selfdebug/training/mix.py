"""Make pairs from attempts: which failed code is shown, which right code is the target, and in what proportion.

The recipe. Attempts that differ in layout alone count once. Every failed attempt of a task is relabelled with the *nearest* right
code of the same task (token edit distance), never with a wrong one. Bugs, which were put into right code, are mended by their
minimal fix or by a right draft that was written without sight of the bug, which copying cannot answer. Repair, bug, direct and keep
pairs are mixed, because training on repairs alone makes a model worse.
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
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair, PairKind
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import SUSPICIOUS, Verdict

FACTS_SHOWN = 3
MAX_BLANKED_SHARE = 1 / 3
"""Of the lines of a failed program, at most how many are blanked."""


REFERENCE = "reference"
"""The arm that a task's reference is given as an attempt, which is stored nowhere."""


@dataclass(frozen=True)
class _Known:
    """What is known of a task: right attempts, failed ones each with its nearest right one, nearest first, and bugs."""

    task: Task
    right: tuple[Attempt, ...]
    failed: tuple[tuple[Attempt, Attempt], ...]
    bugs: tuple[Attempt, ...]


def make_pairs(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig, seed: int) -> list[Pair]:
    """Return the training pairs in a seeded order. The same attempts give the same pairs, in whatever order they come."""
    known = [_known(task, [a for a in attempts if a.task_id == task.id], config) for task in tasks]
    mixed_first = sorted((one for one in known if one.right), key=lambda one: not one.failed)
    rng = random.Random(seed)
    candidates: dict[PairKind, list[Pair]] = {
        "repair": [_repair(one.task, bad, good, config, rng) for one in mixed_first for bad, good in one.failed],
        "bug": _round_robin([_bug(one, bug, config, rng) for bug in one.bugs] for one in mixed_first),
        "direct": _round_robin([_direct(one.task, attempt) for attempt in one.right] for one in mixed_first),
        "keep": _round_robin([_keep(one.task, attempt) for attempt in one.right] for one in mixed_first),
    }
    available = {kind: len(of_kind) for kind, of_kind in candidates.items()}
    pairs = [pair for kind, n in _counts(available, config).items() for pair in candidates[kind][:n]]
    rng.shuffle(pairs)
    return pairs


def reference_pairs(tasks: Iterable[Task]) -> list[Pair]:
    """Return direct pairs to the references of ``tasks``, for trying out a training without a run's attempts."""
    return [_direct(task, _reference(task, task.reference)) for task in tasks]


def _counts(available: Mapping[PairKind, int], config: TrainConfig) -> dict[PairKind, int]:
    """Return how many pairs of each kind are taken, at most ``max_pairs`` in all.

    Failures lead: as many repairs and bugs as there are, those of one kind in place of the other's that are missing, and direct and
    keep pairs in proportion to them. Without failures, by the shares, direct pairs lead.
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
    return counts


def _known(task: Task, attempts: Sequence[Attempt], config: TrainConfig) -> _Known:
    domain = domain_of(task.domain)
    bugs = tuple(distinct([a for a in attempts if a.arm == planting.ARM], task))
    own = distinct([a for a in attempts if a.arm != planting.ARM], task)
    right = [attempt for attempt in own if attempt.passed and attempt.public.passed]
    if not right and config.targets == "reference" and task.reference:
        right = [_reference(task, plain_source(task.reference, task.entry_point) or task.reference)]
    if not right:
        return _Known(task, (), (), ())
    tokens = [domain.tokens(attempt.code) for attempt in right]
    nearest = []
    for bad in own:
        if not bad.passed and _usable(bad):
            tokens_of_bad = domain.tokens(bad.code)
            distance, i = min((Levenshtein.distance(tokens_of_bad, other), i) for i, other in enumerate(tokens))
            nearest.append((distance, bad.id, bad, right[i]))
    nearest.sort(key=lambda item: item[:2])
    failed = tuple((bad, good) for _, _, bad, good in nearest[: config.failed_per_task])
    return _Known(task, tuple(right), failed, bugs[: config.failed_per_task])


def _reference(task: Task, code: str) -> Attempt:
    """The task's reference, taken at its word, as an attempt."""
    passed = Verdict("passed")
    return Attempt(task.id, REFERENCE, 0, 0, "", "", "", code, passed, passed, 0, 0, 0, "given", kind="given")


def _usable(attempt: Attempt) -> bool:
    """Whether a failure can be learned from: it is an honest program, and a whole one."""
    return attempt.verdict.outcome not in SUSPICIOUS and attempt.finish != "length"


def distinct(attempts: Iterable[Attempt], task: Task) -> list[Attempt]:
    """Return the first of those attempts on ``task`` that differ in layout alone."""
    domain = domain_of(task.domain)
    seen: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda a: (a.round, a.sample)):
        seen.setdefault(domain.normalise(attempt.code), attempt)
    return list(seen.values())


def _repair(task: Task, bad: Attempt, right: Attempt, config: TrainConfig, rng: random.Random) -> Pair:
    return _pair("repair", task, _prompt(task, bad, config, rng), right.code, bad, right)


def _bug(known: _Known, bug: Attempt, config: TrainConfig, rng: random.Random) -> Pair:
    """A bug with its minimal fix, or with another right draft of the same task, where there is one."""
    task = known.task
    made_of = next((one for one in known.right if one.id == bug.parent), known.right[0])
    others = [one for one in known.right if one is not made_of]
    prompt = _prompt(task, bug, config, rng)
    if others and rng.random() >= config.minimal_share:
        other = rng.choice(others)
        return _pair("bug", task, prompt, other.code, bug, other)
    return _pair("bug", task, prompt, plain_source(made_of.code, task.entry_point), bug, made_of)


def _prompt(task: Task, bad: Attempt, config: TrainConfig, rng: random.Random) -> str:
    """The repair prompt of a failed attempt, some facts hidden and some lines blanked by the settings' shares."""
    facts = 1 if rng.random() < config.hide_facts_share else FACTS_SHOWN
    blanked = rng.random() < config.blank_share
    shown = replace(bad, code=_blanked(bad.code, rng)) if blanked else bad
    return domain_of(task.domain).repair_prompt(task, shown, max_facts=facts)


def _blanked(code: str, rng: random.Random) -> str:
    """Return ``code`` with a run of its lines, the first aside, replaced by "..." at their depth."""
    lines = code.strip("\n").split("\n")
    if len(lines) < 3:
        return code
    n = rng.randint(1, max(1, round(len(lines) * MAX_BLANKED_SHARE)))
    start = rng.randint(1, len(lines) - n)
    depth = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    return "\n".join([*lines[:start], f"{depth}...", *lines[start + n :]]) + "\n"


def _direct(task: Task, right: Attempt) -> Pair:
    return _pair("direct", task, domain_of(task.domain).prompt(task), right.code, right)


def _keep(task: Task, right: Attempt) -> Pair:
    return _pair("keep", task, domain_of(task.domain).repair_prompt(task, right), right.code, right)


def _pair(kind: PairKind, task: Task, prompt: str, target: str, *made_of: Attempt) -> Pair:
    ids = tuple(attempt.id for attempt in made_of if attempt.arm != REFERENCE)
    return Pair(kind, task.domain, task.id, prompt, domain_of(task.domain).completion(target), ids)


def _round_robin(groups: Iterable[Sequence[Pair]]) -> list[Pair]:
    """The first of each group, then the second of each, ...: few tasks never crowd out many."""
    return [pair for row in zip_longest(*groups) for pair in row if pair is not None]
