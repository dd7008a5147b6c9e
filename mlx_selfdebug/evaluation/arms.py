"""The arms of an evaluation: what follows a first draft that fails a check one may see, at equal generated tokens.

All arms of a model begin with the same greedy drafts. Each then goes on, task by task, until an attempt passes the public checks or
the task's tokens are spent; they differ in what the model is shown. Without "blind" no gain of repairing can be told from trying
again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_selfdebug.errors import ConfigError
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.feedback import CODE_ONLY, EVERYTHING, NOTICE, Feedback
from mlx_selfdebug.repair.policies import Greedy, Move, Policy, Repair, Resample, either, passed_in_public, spent
from mlx_selfdebug.repair.stream import Play
from mlx_selfdebug.tasks.task import Task

FIRST = "first"
"""The greedy drafts that all arms of a model share."""
BLIND = "blind"
REPAIR = "facts"
"""The arm whose answers are what a user gets after repair."""
MOST_ATTEMPTS = 64


@dataclass(frozen=True)
class Arm:
    """``feedback`` None: fresh drafts, shown nothing of what was tried. ``of_another``: the facts are another task's."""

    name: str
    about: str
    feedback: Feedback | None
    of_another: bool = False

    def policy(self, tokens: int) -> Policy:
        stop = either(passed_in_public, spent(tokens))
        return Resample(MOST_ATTEMPTS, stop) if self.feedback is None else Repair(MOST_ATTEMPTS, stop)


ARMS = {
    arm.name: arm
    for arm in (
        Arm(BLIND, "a fresh draft", None),
        Arm("notice", "told that its code failed, and shown nothing", NOTICE),
        Arm("code", "shown its failed code", CODE_ONLY),
        Arm(REPAIR, "shown its failed code and the facts", EVERYTHING),
        Arm("other-facts", "shown its failed code and the facts of another task", EVERYTHING, of_another=True),
    )
}


def arms_named(names: str) -> list[Arm]:
    """The arms of a comma-separated list, in the order of ``ARMS``. Raises ConfigError for a name nobody knows."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted - ARMS.keys()):
        raise ConfigError(f"eval.arms: unknown arm {unknown[0]!r}. Known: {', '.join(ARMS)}")
    return [arm for name, arm in ARMS.items() if name in wanted]


def first_drafts(model: str, tasks: Sequence[Task], decoding: Decoding) -> Play:
    """The drafts of ``model`` ("base", "adapter") that its arms begin with."""
    return Play(f"{model}/{FIRST}", tasks, Greedy(), decoding)


def play_of(
    arm: Arm, model: str, tasks: Sequence[Task], decoding: Decoding, drafts: Mapping[str, Attempt], tokens: int
) -> Play:
    """``tokens``: what a task may take in all, its draft included."""
    given = {id_: [draft] for id_, draft in drafts.items()}
    how, policy = replace(decoding, feedback=arm.feedback or EVERYTHING), arm.policy(tokens)
    if arm.of_another:
        borrowed = _facts_of_another(tasks, drafts)
        how, policy = replace(how, borrowed=borrowed), _Among(borrowed, policy)
    return Play(f"{model}/{arm.name}", tasks, policy, how, given)


@dataclass(frozen=True)
class _Among:
    """A policy for some tasks; nothing is attempted on the others."""

    ids: Collection[str]
    policy: Policy

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return self.policy.moves(task, attempts) if task.id in self.ids else []


def _facts_of_another(tasks: Sequence[Task], drafts: Mapping[str, Attempt]) -> dict[str, Attempt]:
    """For each task the draft of the next one, in their order and around the end, that failed with facts.

    None for the only one that did: its own facts would not be another's.
    """
    failing = [task.id for task in tasks if drafts[task.id].public.failures]
    order = [task.id for task in tasks]
    following = {id_: [*order[i + 1 :], *order[:i]] for i, id_ in enumerate(order)}
    nearest = {id_: next((other for other in after if other in failing), None) for id_, after in following.items()}
    return {id_: drafts[other] for id_, other in nearest.items() if other}


def answer(attempts: Sequence[Attempt], tokens: int) -> Attempt:
    """What one arm hands in for a task within ``tokens``: the first attempt that passes the public checks, else the last.

    ``attempts`` in the order they were made. The first counts even where it alone takes more.
    """
    used, within = 0, list(attempts[:1])
    for attempt in attempts:
        used += attempt.n_completion_tokens
        if used <= tokens and attempt is not attempts[0]:
            within.append(attempt)
    return next((attempt for attempt in within if attempt.public.passed), within[-1])
