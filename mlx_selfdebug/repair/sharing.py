"""Divide the tasks of a stream among the ranks of a group, while they work.

No rank directs the others. In every round of messages, each rank says how many more attempts it can begin now, how fast it decodes
and what it has finished. From these messages alone, every rank computes the same plan: which tasks go to which rank next. A fast
rank asks more often, so it gets more tasks. Each round hands out half of the tasks that are left, so the ranks end at nearly the
same time ("guided self-scheduling": Polychronopoulos and Kuck 1987, "Guided Self-Scheduling: A Practical Scheduling Scheme for
Parallel Supercomputers", IEEE Transactions on Computers C-36).

A task stays with the rank that it was given to. A process that works alone gets all tasks at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_selfdebug.distributed import Group
from mlx_selfdebug.distributed.exchange import Exchange
from mlx_selfdebug.store.codec import parse, plain
from mlx_selfdebug.values.attempt import Attempt

HANDED_OUT = 0.5
"""The share of the tasks left that a round hands out, if the ranks have room for as many."""


@dataclass
class News:
    """What a round of messages brought to this rank."""

    given: list[int] = field(default_factory=list)
    """The tasks that this rank is to begin."""
    attempts: list[Attempt] = field(default_factory=list)
    """The attempts that other ranks have finished."""
    finished: list[int] = field(default_factory=list)
    """The tasks that other ranks have finished."""


@dataclass
class _Rank:
    """What is known of a rank from its messages."""

    room: int = 0
    """The number of attempts that it can begin, less those of the tasks that it was given since it said so."""
    speed: float = 0.0
    """The tokens that it decodes per second, or 0 if it has decoded none yet."""


class Sharing:
    """The division of tasks among ranks. A task is known by its place in ``sizes``, the number of its first attempts."""

    def __init__(self, group: Group, sizes: Sequence[int]) -> None:
        self._group = group
        self._sizes = sizes
        self._left = deque(range(len(sizes)))
        """The tasks that no rank was given yet."""
        self._unfinished = set(self._left)
        self._ranks = [_Rank() for _ in range(group.size)]
        self._exchange = Exchange(group) if group.size > 1 else None
        self._done: list[int] = []
        self._attempts: list[Attempt] = []

    @property
    def is_over(self) -> bool:
        """Whether all tasks are finished, as far as the messages say. It becomes true in the same round on every rank."""
        return not self._unfinished

    def finish(self, task: int) -> None:
        """Note that this rank has finished a task."""
        self._done.append(task)

    def add(self, attempt: Attempt) -> None:
        """Pass an attempt on to the other ranks."""
        self._attempts.append(attempt)

    def advance(self, *, room: int, speed: float, idle: bool) -> News:
        """Exchange messages if that is due, and return what they brought.

        ``room`` is the number of attempts that this rank could begin now, ``speed`` the tokens that it decodes per second.
        An ``idle`` rank waits for the others.
        """
        if self._exchange is None:
            self._unfinished.difference_update(self._done)
            given = list(self._left)
            self._left.clear()
            self._done.clear()
            self._attempts.clear()
            return News(given=given)
        news = News()
        if not self._exchange.is_due(idle=idle):
            return news
        for rank, messages in enumerate(self._exchange.receive()):
            for message in messages:
                self._take(rank, message, news)
        if self.is_over:
            return news
        news.given = self._hand_out()
        attempts = [plain(attempt) for attempt in self._attempts]
        self._exchange.send({"room": room, "speed": speed, "done": self._done, "attempts": attempts})
        self._done, self._attempts = [], []
        self._exchange.begin_round()
        return news

    def _take(self, rank: int, message: Any, news: News) -> None:
        """Take over what ``rank`` says of itself."""
        self._ranks[rank].room, self._ranks[rank].speed = message["room"], message["speed"]
        self._unfinished -= set(message["done"])
        if rank != self._group.rank:
            news.finished += message["done"]
            news.attempts += [parse(Attempt, attempt) for attempt in message["attempts"]]

    def _hand_out(self) -> list[int]:
        """Give tasks to the ranks that have room, in proportion to their speeds, and return those of this rank."""
        given: list[int] = []
        wanting = [rank for rank in self._ranks if rank.room > 0]
        speeds = [rank.speed if all(each.speed for each in wanting) else 1.0 for rank in wanting]
        n_left = len(self._left)
        for rank, speed in zip(wanting, speeds, strict=True):
            share = max(1, round(HANDED_OUT * n_left * speed / sum(speeds)))
            while share and rank.room > 0 and self._left:
                task = self._left.popleft()
                rank.room -= self._sizes[task]
                share -= 1
                if rank is self._ranks[self._group.rank]:
                    given.append(task)
        return given
