"""Define stand-ins for a test runner, with which a search tests many edited programs quickly and traces the failed program.

A domain judges a program with whatever runner it is given. With a ``QuickRunner``, a program is tested only up to its first failed
check. With a ``TracingRunner``, it is run once to see which of its lines run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import Manner, TestRunner
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.verdict import Verdict

T = TypeVar("T")
MIN_WALL_S = 0.25
"""Every try may take at least this long, in seconds. Most tries take 5 ms."""
MAX_SLOWDOWN = 20.0
"""A try may also take up to this many times as long as the failed program did."""
TIMEOUTS = frozenset({"timeout_wall", "timeout_cpu"})
"""Outcomes of programs that ran into a time limit."""


def wall_s_of(verdict: Verdict, max_wall_s: float) -> float:
    """Return how many seconds a try may take, at most ``max_wall_s``. The limit is low, so that endless loops are cheap.

    The limit follows from the time that the failed program took according to its ``verdict``. If the failed program itself ran into
    a time limit, its time says nothing about how long its edits should take. They get as little time as the edits of a quick
    program.
    """
    if verdict.outcome in TIMEOUTS:
        return min(max_wall_s, MIN_WALL_S)
    return min(max_wall_s, max(MIN_WALL_S, MAX_SLOWDOWN * verdict.wall_s))


class _StandIn:
    """What both stand-ins share. They run programs in a ``manner`` of their own, and keep resources open in the real ``runner``."""

    def __init__(self, runner: TestRunner, manner: Manner) -> None:
        self._runner, self._manner, self._wall_s = runner, manner, manner.wall_s

    @property
    def manner(self) -> Manner:
        """How programs are run: their time limit, and whether they end at the first failed check or are traced."""
        return self._manner

    def kept(self, key: Hashable, opened: Callable[[Level], AbstractContextManager[T]]) -> T:
        """Return the resource that the real runner keeps open for a domain under ``key``; see ``TestRunner.kept``."""
        return self._runner.kept(key, opened)


class QuickRunner(_StandIn):
    """A runner that tests a program up to its first failed check, for at most ``wall_s`` seconds."""

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        super().__init__(runner, Manner(wall_s, stop_at_first_failure=True))

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Begin to test ``source``; see ``TestRunner.submit``."""
        return self._runner.submit(
            source, checks, entry_point, prelude=prelude, wall_s=self._wall_s, stop_at_first_failure=True
        )


class TracingRunner(_StandIn):
    """A runner that runs a program once to see which of its lines run.

    The futures that it returns hold an ``Executed`` instead of a verdict. They are typed ``Future[Any]`` because a domain takes
    this runner in the place of one that returns verdicts.
    """

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        super().__init__(runner, Manner(wall_s, traced=True))

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Any]:
        """Begin to run ``source``; see ``TestRunner.submit_traced``."""
        return self._runner.submit_traced(source, checks, entry_point, prelude=prelude, wall_s=self._wall_s)
