"""Runs of edits: stand-ins for a test runner, through which a domain tests a program quickly, or sees which of its lines ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from mlx_selfdebug.sandbox.executed import Executed, executed_lines
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.verdict import Verdict

LEAST_WALL_S, TIMES_SLOWER = 0.25, 20.0
"""A try may take a quarter of a second, or twenty times what the failed program took if that is more; most take 5 ms."""
TIMEOUTS = frozenset({"timeout_wall", "timeout_cpu"})


def wall_s_of(verdict: Verdict, most: float) -> float:
    """Return how long a try may take, from the ``verdict`` of the program it is an edit of: an endless loop costs no more.

    How long the program would take that never ended is not known; its edits get as little as those of a quick one.
    """
    if verdict.outcome in TIMEOUTS:
        return min(most, LEAST_WALL_S)
    return min(most, max(LEAST_WALL_S, TIMES_SLOWER * verdict.wall_s))


class QuickRunner:
    """Tests a program until its first failed check, at most ``wall_s`` seconds."""

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        self._runner, self._wall_s = runner, wall_s

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Begin to test ``source``; see ``TestRunner.submit``."""
        return self._runner.submit(
            source, checks, entry_point, prelude=prelude, wall_s=self._wall_s, stop_at_first_failure=True
        )


class TracingRunner:
    """Runs a program once to see which of its lines ran. What it submits ends with an ``Executed`` instead of a verdict."""

    def __init__(self, runner: TestRunner, wall_s: float) -> None:
        self._runner, self._wall_s = runner, wall_s

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Any]:
        """Begin to run ``source``; see ``sandbox.executed.executed_lines``."""
        return executed_lines(source, checks, entry_point, self._runner, prelude=prelude, wall_s=self._wall_s)


def failing_shares(executed: Executed) -> Mapping[int, float] | None:
    """Return, by line, the share of the failing calls that ran it; None where no failing call is known.

    A failing call that ran everything tells nothing, so the shares are of use only beside another order.
    """
    failing = [call for call in executed.calls if not call.passed]
    if not failing:
        return None
    counts = Counter(line for call in failing for line in call.lines)
    return {line: count / len(failing) for line, count in counts.items()}


def suspiciousness(executed: Executed) -> Mapping[int, float]:
    """Return, by line, how suspicious its executions make it: Ochiai's coefficient (Abreu, Zoeteweij and van Gemund 2006).

    That is failed(line) / sqrt(failed * (failed(line) + passed(line))), with the numbers of failing and passing calls that ran it.
    """
    failing = [call for call in executed.calls if not call.passed]
    failed = Counter(line for call in failing for line in call.lines)
    ran = Counter(line for call in executed.calls for line in call.lines)
    return {line: failed[line] / (len(failing) * ran[line]) ** 0.5 if failing else 0.0 for line in ran}
