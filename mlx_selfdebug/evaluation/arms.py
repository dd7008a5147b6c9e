"""The arms of an evaluation: what follows a program that fails a check one may see, at equal generated tokens.

All arms of a model begin with the same failed programs: its own greedy drafts, or bugs. Each then goes on, task by task, until an
attempt passes the public checks or the task's tokens are spent. They differ in what the model is shown, and in whether the program
is searched for a small edit and for places to leave it before anything else is tried. Without "blind" no gain of repairing can be
told from trying again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlx_selfdebug.errors import ConfigError
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import Greedy, Move, Policy, Repair, Search, either, passed_in_public, spent
from mlx_selfdebug.repair.stream import Play
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import CODE_ONLY, EVERYTHING, NOTICE, Feedback
from mlx_selfdebug.values.task import Task

FIRST = "first"
"""The greedy drafts that all arms of a model share."""
BLIND = "blind"
REPAIR = "facts"
"""The arm whose answers are what a user gets after repair."""
MOST_ATTEMPTS = 64


SEARCH = "edits+forks+blind"
"""The arm that searches the failed program before it draws afresh."""


@dataclass(frozen=True)
class Arm:
    """What is done about a failed program, and ``about`` it in a few words.

    With ``edits`` and ``forks`` the program is searched first. ``then`` come fresh drafts, or repairs that are shown what
    ``feedback`` allows: of the last failed program, or after a search of the one that was searched. ``of_another``: the facts that
    are shown are another task's.
    """

    name: str
    about: str
    then: Literal["drafts", "repairs", "nothing"]
    feedback: Feedback = EVERYTHING
    of_another: bool = False
    edits: bool = False
    forks: bool = False

    @property
    def decodes(self) -> bool:
        """Whether the model writes anything."""
        return self.forks or self.then != "nothing"

    def policy(self, tokens: int, forks: int) -> Policy:
        """Until ``tokens`` are spent; at most ``forks`` forks of a program."""
        stop = either(passed_in_public, spent(tokens))
        if self.then == "repairs" and not (self.edits or self.forks):
            return Repair(MOST_ATTEMPTS, stop)
        return Search(self.edits, forks if self.forks else 0, self.then, stop, MOST_ATTEMPTS - 1)


ARMS = {
    arm.name: arm
    for arm in (
        Arm(BLIND, "a fresh draft", "drafts"),
        Arm("notice", "told that its code failed, and shown nothing", "repairs", NOTICE),
        Arm("code", "shown its failed code", "repairs", CODE_ONLY),
        Arm(REPAIR, "shown its failed code and the facts", "repairs"),
        Arm("other-facts", "shown its failed code and the facts of another task", "repairs", of_another=True),
        Arm("edits", "a small edit of the failed code", "nothing", edits=True),
        Arm("forks", "the failed code left at surprising places", "nothing", forks=True),
        Arm("edits+blind", "a small edit, else fresh drafts", "drafts", edits=True),
        Arm(SEARCH, "a small edit, else forks, else fresh drafts", "drafts", edits=True, forks=True),
        Arm("edits+forks+facts", "a small edit, else forks, else repairs", "repairs", edits=True, forks=True),
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
    arm: Arm,
    model: str,
    tasks: Sequence[Task],
    decoding: Decoding,
    begun: Mapping[str, Attempt],
    *,
    tokens: int,
    forks: int = 0,
) -> Play:
    """``begun``: by task what the arm begins with. ``tokens``: what a task may take in all, a draft in ``begun`` included."""
    given = {id_: [attempt] for id_, attempt in begun.items()}
    how, policy = replace(decoding, feedback=arm.feedback), arm.policy(tokens, forks)
    if arm.of_another:
        borrowed = _facts_of_another(tasks, begun)
        how, policy = replace(how, borrowed=borrowed), _Among(borrowed, policy)
    return Play(f"{model}/{arm.name}", tasks, policy, how, given)


@dataclass(frozen=True)
class _Among:
    """A policy for some tasks; nothing is attempted on the others."""

    ids: Collection[str]
    policy: Policy

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return self.policy.moves(task, attempts) if task.id in self.ids else []


def _facts_of_another(tasks: Sequence[Task], begun: Mapping[str, Attempt]) -> dict[str, Attempt]:
    """For each task the attempt of the next one, in their order and around the end, that failed with facts.

    None where no other did: its own facts would not be another's. Two bugs of one task have the same statement and are no others.
    """
    failing = [task for task in tasks if begun[task.id].public.failures]
    order = {task.id: i for i, task in enumerate(tasks)}
    found: dict[str, Attempt] = {}
    for task in tasks:
        others = [
            other for other in failing if (other.entry_point, other.statement) != (task.entry_point, task.statement)
        ]
        following = [other for other in others if order[other.id] > order[task.id]]
        if others:
            found[task.id] = begun[(following or others)[0].id]
    return found


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
