"""Divide the tasks of a stream among the ranks of a group, while they work.

No rank directs the others. In every round of messages (``distributed/exchange.py``), each rank says how many more attempts it can
begin now, how fast it decodes and what it has finished:

    {"room": 24, "speed": 61.5, "done": [3, 8], "attempts": [{"task_id": "mine/double", ...}]}

From these messages alone, every rank computes the same plan: which tasks go to which rank next. A fast rank asks more often, so it
gets more tasks. Each round hands out half of the tasks that are left, so the ranks end at nearly the same time ("guided
self-scheduling": Polychronopoulos and Kuck 1987, "Guided Self-Scheduling: A Practical Scheduling Scheme for Parallel
Supercomputers", IEEE Transactions on Computers C-36).

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
"""The share of the remaining tasks that a round hands out, if the ranks have room for as many."""


@dataclass
class News:
    """What a round of messages brought to this rank. A task is given by its place in the list of all tasks."""

    tasks_to_begin: list[int] = field(default_factory=list)
    """The tasks that this rank has been given."""
    attempts: list[Attempt] = field(default_factory=list)
    """The attempts that other ranks have finished."""
    finished: list[int] = field(default_factory=list)
    """The tasks that other ranks have finished."""


@dataclass
class _Rank:
    """What is known of a rank from its messages."""

    room: int = 0
    """The number of attempts that the rank can begin now. Tasks that it was given since its message are subtracted."""
    speed: float = 0.0
    """The tokens that the rank decodes per second, or 0 if it has decoded none yet."""


class Sharing:
    """The division of tasks among the ranks of ``group``.

    ``sizes`` holds the number of attempts with which each task begins. A task is known by its place in this list, from 0 on.
    """

    def __init__(self, group: Group, sizes: Sequence[int]) -> None:
        self._group = group
        self._sizes = sizes
        self._remaining = deque(range(len(sizes)))
        """The tasks that no rank was given yet."""
        self._unfinished = set(self._remaining)
        self._ranks = [_Rank() for _ in range(group.size)]
        self._exchange = Exchange(group) if group.size > 1 else None
        # What this rank has finished since its last message.
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
        """Exchange messages if it is time for a round, and return what they brought.

        Args:
            room: the number of attempts that this rank could begin now.
            speed: the tokens that this rank decodes per second.
            idle: whether this rank has nothing to do. It then waits for the others.
        """
        if self._exchange is None:
            return self._advance_alone()
        news = News()
        if not self._exchange.is_due(idle=idle):
            return news
        for rank, messages in enumerate(self._exchange.receive()):
            for message in messages:
                self._take(rank, message, news)
        if self.is_over:
            return news
        news.tasks_to_begin = self._hand_out()
        attempts = [plain(attempt) for attempt in self._attempts]
        self._exchange.send({"room": room, "speed": speed, "done": self._done, "attempts": attempts})
        self._done, self._attempts = [], []
        self._exchange.begin_round()
        return news

    def _advance_alone(self) -> News:
        """Give all tasks to this process, which is the only one. There is nobody to tell what it has finished."""
        self._unfinished.difference_update(self._done)
        tasks = list(self._remaining)
        self._remaining.clear()
        self._done.clear()
        self._attempts.clear()
        return News(tasks_to_begin=tasks)

    def _take(self, rank: int, message: Any, news: News) -> None:
        """Take over what ``rank`` says in a message. Add what is new to this rank to ``news``."""
        self._ranks[rank].room, self._ranks[rank].speed = message["room"], message["speed"]
        self._unfinished -= set(message["done"])
        if rank != self._group.rank:
            news.finished += message["done"]
            news.attempts += [parse(Attempt, attempt) for attempt in message["attempts"]]

    def _hand_out(self) -> list[int]:
        """Give tasks to the ranks that have room, in proportion to their speeds, and return the tasks of this rank.

        If one of these ranks has not decoded anything yet, all of them count as equally fast.
        """
        own_tasks: list[int] = []
        with_room = [rank for rank in self._ranks if rank.room > 0]
        speeds = [rank.speed for rank in with_room]
        if not all(speeds):
            speeds = [1.0] * len(with_room)
        n_to_hand_out = HANDED_OUT * len(self._remaining)
        for rank, speed in zip(with_room, speeds, strict=True):
            share = max(1, round(n_to_hand_out * speed / sum(speeds)))
            while share and rank.room > 0 and self._remaining:
                task = self._remaining.popleft()
                rank.room -= self._sizes[task]
                share -= 1
                if rank is self._ranks[self._group.rank]:
                    own_tasks.append(task)
        return own_tasks
