"""Define the arms of an evaluation: the ways of going on after a program has failed a public check.

All arms of a model begin with the same failed programs, which are its own greedy drafts or bugs. Each arm then goes on, task by
task, until an attempt passes the public checks or the task's tokens are spent. All arms may generate equally many tokens. They
differ in what the model is shown, and in whether the failed program is first searched for a small edit and then forked. The arm
"blind" is the control: without it, a gain from repairing cannot be told from the gain that resampling alone brings.
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
"""The arm of the greedy drafts with which all other arms of a model begin."""
BLIND = "blind"
"""The arm that resamples: it makes fresh drafts, which are shown nothing of the failure."""
REPAIR = "facts"
"""The arm that repairs with facts. Its answers are what a user gets after repair."""
SEARCH = "edits+forks+blind"
"""The arm that searches the failed program before it resamples."""
MAX_ATTEMPTS = 64
"""The largest number of drafts or repairs that an arm makes on a task, however few tokens they take."""


class ArmKey(str):
    """The name of one arm of one model, under which its attempts are stored, such as "base/blind" or "bugs/adapter/facts".

    It is a string, so it can be a key in JSON and in the store. Unlike a plain string, it knows its two parts.
    """

    __slots__ = ()

    def __new__(cls, model: str, arm: str) -> ArmKey:
        return super().__new__(cls, f"{model}/{arm}")

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Return the arguments of ``__new__``. ``copy`` and ``pickle`` need them, because ``str`` takes other arguments."""
        return self.model, self.arm

    @property
    def model(self) -> str:
        """The model's name, with the prefixes of the half and the gate: "bugs/adapter" in "bugs/adapter/facts"."""
        return self.rpartition("/")[0]

    @property
    def arm(self) -> str:
        """The arm's name: "facts" in "bugs/adapter/facts"."""
        return self.rpartition("/")[2]


@dataclass(frozen=True)
class Arm:
    """One way of going on after a failed program."""

    name: str
    about: str
    """What follows the failed program, in a few words."""
    then: Literal["drafts", "repairs", "nothing"]
    """What the model writes once the search, if there is one, has found nothing.

    Each repair is made from the attempt before it. After a search, all repairs are made from the program that was searched.
    """
    feedback: Feedback = EVERYTHING
    """What a repair is shown."""
    of_another: bool = False
    """Whether a repair is shown the facts of another task."""
    edits: bool = False
    """Whether the failed program is searched for a small edit that passes."""
    forks: bool = False
    """Whether the failed program is left at surprising places and completed from there."""

    @property
    def decodes(self) -> bool:
        """Whether the model generates anything in this arm."""
        return self.forks or self.then != "nothing"

    def policy(self, tokens: int, forks: int) -> Policy:
        """Return the policy that plays this arm until ``tokens`` are spent, with at most ``forks`` forks per program."""
        stop = either(passed_in_public, spent(tokens))
        if self.then == "repairs" and not (self.edits or self.forks):
            return Repair(MAX_ATTEMPTS, stop)
        return Search(
            edits=self.edits,
            forks=forks if self.forks else 0,
            then=self.then,
            stop=stop,
            max_followups=MAX_ATTEMPTS - 1,
        )


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
    """Return the arms that a comma-separated list names, in the order of ``ARMS``. Raises ConfigError for an unknown name."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted - ARMS.keys()):
        raise ConfigError(f"eval.arms: unknown arm {unknown[0]!r}. Known: {', '.join(ARMS)}")
    return [arm for name, arm in ARMS.items() if name in wanted]


def first_drafts(model: str, tasks: Sequence[Task], decoding: Decoding) -> Play:
    """Return the play that makes the greedy drafts of ``model``, such as "base" or "adapter", with which its arms begin."""
    return Play(ArmKey(model, FIRST), tasks, Greedy(), decoding)


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
    """Return the play of ``arm`` for ``model``.

    ``begun`` gives, by task id, the attempt with which the arm begins. At most ``tokens`` tokens are generated per task,
    including those of the draft in ``begun``. At most ``forks`` forks that rewrite the whole rest are made per program. The arm
    says what a repair is shown of its parent, and ``decoding`` whether all prompts show the public checks.
    """
    decoding = replace(decoding, feedback=replace(arm.feedback, public_checks=decoding.feedback.public_checks))
    policy = arm.policy(tokens, forks)
    if arm.of_another:
        borrowed = _facts_of_another(tasks, begun)
        decoding = replace(decoding, borrowed=borrowed)
        policy = _OnTasks(borrowed, policy)
    return Play(ArmKey(model, arm.name), tasks, policy, decoding, {id_: [attempt] for id_, attempt in begun.items()})


@dataclass(frozen=True)
class _OnTasks:
    """A policy that is applied to some tasks only. Nothing is attempted on the others."""

    ids: Collection[str]
    policy: Policy

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return self.policy.moves(task, attempts) if task.id in self.ids else []


def _facts_of_another(tasks: Sequence[Task], begun: Mapping[str, Attempt]) -> dict[str, Attempt]:
    """Return, by task id, the attempt on the next other task that failed with facts. After the last task, the first one is next.

    A task is left out if no other task failed with facts. Two bugs of the same task have the same statement, so they count as the
    same task.
    """
    failing = [task for task in tasks if begun[task.id].public.failures]
    order = {task.id: i for i, task in enumerate(tasks)}
    borrowed: dict[str, Attempt] = {}
    for task in tasks:
        others = [
            other for other in failing if (other.entry_point, other.statement) != (task.entry_point, task.statement)
        ]
        following = [other for other in others if order[other.id] > order[task.id]]
        if others:
            borrowed[task.id] = begun[(following or others)[0].id]
    return borrowed


def answer(attempts: Sequence[Attempt], tokens: int) -> Attempt:
    """Return one arm's answer to a task within ``tokens``: the first attempt that passes the public checks, or else the last one.

    ``attempts`` are in the order in which they were made. The first attempt counts even if it alone takes more tokens.
    """
    n_tokens, within_tokens = 0, list(attempts[:1])
    for attempt in attempts:
        n_tokens += attempt.n_completion_tokens
        if n_tokens <= tokens and attempt is not attempts[0]:
            within_tokens.append(attempt)
    return next((attempt for attempt in within_tokens if attempt.public.passed), within_tokens[-1])
