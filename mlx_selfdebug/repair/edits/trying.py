"""Stand-ins for a test runner, through which a domain tests an edited program quickly, or sees which lines of a program ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from mlx_selfdebug.sandbox.executed import Executed, executed_lines
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import Manner, TestRunner
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.verdict import Verdict

T = TypeVar("T")
MIN_WALL_S, MAX_SLOWDOWN = 0.25, 20.0
"""A try may take 0.25 s, or twenty times as long as the failed program took if that is more. Most tries take 5 ms."""
TIMEOUTS = frozenset({"timeout_wall", "timeout_cpu"})


def wall_s_of(verdict: Verdict, max_wall_s: float) -> float:
    """Return how many seconds a try may take, given the ``verdict`` on the failed program, so that endless loops are cheap.

    If the failed program itself ran into a time limit, nothing is known about how long its edits should take. They get as little
    time as the edits of a quick program.
    """
    if verdict.outcome in TIMEOUTS:
        return min(max_wall_s, MIN_WALL_S)
    return min(max_wall_s, max(MIN_WALL_S, MAX_SLOWDOWN * verdict.wall_s))


class _StandIn:
    """What both stand-ins have in common: they run programs in another manner, with what the runner keeps."""

    def __init__(self, runner: TestRunner, manner: Manner) -> None:
        self._runner, self._manner, self._wall_s = runner, manner, manner.wall_s

    @property
    def manner(self) -> Manner:
        return self._manner

    def kept(self, key: Hashable, opened: Callable[[Level], AbstractContextManager[T]]) -> T:
        """Return what the runner keeps; see ``TestRunner.kept``."""
        return self._runner.kept(key, opened)


class QuickRunner(_StandIn):
    """A runner that tests a program up to its first failed check, for at most ``wall_s`` seconds."""

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        super().__init__(runner, Manner(wall_s, first_failure=True))

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Begin to test ``source``; see ``TestRunner.submit``."""
        return self._runner.submit(
            source, checks, entry_point, prelude=prelude, wall_s=self._wall_s, stop_at_first_failure=True
        )


class TracingRunner(_StandIn):
    """A runner that runs a program once to see which of its lines run.

    The futures that it returns end with an ``Executed`` instead of a verdict.
    """

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        super().__init__(runner, Manner(wall_s, traced=True))

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Any]:
        """Begin to run ``source``; see ``sandbox.executed.executed_lines``."""
        return executed_lines(source, checks, entry_point, self._runner, prelude=prelude, wall_s=self._wall_s)


def failing_shares(executed: Executed) -> Mapping[int, float] | None:
    """Return, by line, the share of the failing calls that ran the line, or None if no failing call is known.

    A failing call that ran every line tells nothing, so the shares are useful only in addition to another order.
    """
    failing = [call for call in executed.calls if not call.passed]
    if not failing:
        return None
    counts = Counter(line for call in failing for line in call.lines)
    return {line: count / len(failing) for line, count in counts.items()}


def suspiciousness(executed: Executed) -> Mapping[int, float]:
    """Return, by line, how suspicious the line is: Ochiai's coefficient (Abreu, Zoeteweij and van Gemund 2006).

    It is failed(line) / sqrt(failed * (failed(line) + passed(line))). Here failed(line) and passed(line) are the numbers of failing
    and passing calls that ran the line, and failed is the number of all failing calls.
    """
    failing = [call for call in executed.calls if not call.passed]
    failed = Counter(line for call in failing for line in call.lines)
    ran = Counter(line for call in executed.calls for line in call.lines)
    return {line: failed[line] / (len(failing) * ran[line]) ** 0.5 if failing else 0.0 for line in ran}
