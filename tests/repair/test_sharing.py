from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.distributed import ALONE, Group
from mlx_selfdebug.repair import sharing
from mlx_selfdebug.repair.sharing import Sharing


class Wire:
    """A connection between plans in one process: a round is whatever all of them have sent."""

    def __init__(self, size: int) -> None:
        self.queues: list[list[Any]] = [[] for _ in range(size)]
        self.round: list[list[Any]] | None = None


class LocalExchange:
    """The exchange of one of several plans that live in this process and take turns. It has the interface of ``Exchange``."""

    wire: Wire

    def __init__(self, group: Group) -> None:
        self.rank, self.pending = group.rank, False

    def is_due(self, *, idle: bool) -> bool:
        return True

    def send(self, message: Any) -> None:
        self.wire.queues[self.rank].append(message)

    def begin_round(self) -> None:
        self.pending = True

    def receive(self) -> list[list[Any]]:
        if not self.pending:
            return [[] for _ in self.wire.queues]
        assert self.wire.round is not None
        return self.wire.round


def play(
    monkeypatch: pytest.MonkeyPatch, speeds: Sequence[int], sizes: Sequence[int], room: int = 8
) -> list[list[int]]:
    """Play all tasks. A rank finishes as many per round as its speed says. Return the tasks that each rank got, in order."""
    wire = Wire(len(speeds))
    monkeypatch.setattr(LocalExchange, "wire", wire, raising=False)
    monkeypatch.setattr(sharing, "Exchange", LocalExchange)
    plans = [Sharing(Group(rank, len(speeds)), sizes) for rank in range(len(speeds))]
    got: list[list[int]] = [[] for _ in speeds]
    doing: list[list[int]] = [[] for _ in speeds]
    for _ in range(10_000):
        wire.round, wire.queues = [list(queue) for queue in wire.queues], [[] for _ in speeds]
        for rank, plan in enumerate(plans):
            n_waiting = sum(sizes[task] for task in doing[rank])
            news = plan.advance(room=max(0, room - n_waiting), speed=float(speeds[rank]), idle=not doing[rank])
            got[rank] += news.tasks_to_begin
            doing[rank] += news.tasks_to_begin
        assert len({plan.is_over for plan in plans}) == 1, "the ranks disagree on the end"
        if plans[0].is_over:
            return got
        for rank, plan in enumerate(plans):
            for _ in range(min(speeds[rank], len(doing[rank]))):
                plan.finish(doing[rank].pop(0))
    raise AssertionError("it never ends")


@settings(max_examples=60, deadline=None)
@given(
    speeds=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    room=st.integers(1, 20),
)
def test_every_task_goes_to_one_rank_and_all_ranks_end_in_the_same_round(
    speeds: list[int], sizes: list[int], room: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        got = play(monkeypatch, speeds, sizes, room)
    assert sorted(task for tasks in got for task in tasks) == list(range(len(sizes)))


def test_a_fast_rank_gets_more_tasks_than_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = play(monkeypatch, [1, 4], [1] * 200)
    assert 2.5 < len(fast) / len(slow) < 6


def test_a_few_tasks_are_not_all_given_to_the_first_rank_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = play(monkeypatch, [1, 1], [1] * 8, room=64)
    assert len(first) == len(second) == 4


def test_a_process_alone_gets_all_tasks_at_once() -> None:
    plan = Sharing(ALONE, [1, 1, 1])
    assert plan.advance(room=0, speed=0.0, idle=True).tasks_to_begin == [0, 1, 2]
    for task in range(3):
        assert not plan.is_over
        plan.finish(task)
        assert plan.advance(room=0, speed=0.0, idle=True).tasks_to_begin == []
    assert plan.is_over
