"""Decide which processes hold too much memory, and when to measure them again.

This module only decides. Its caller is an event loop, which has the clock, measures the processes and ends them:

    watch.add(child, budget_bytes)                              # when it is forked
    ...
    if now >= watch.due:                                        # watch.due bounds the loop's wait
        for pid in watch.look(now, {pid: footprint(pid) for pid in watch.pids}).over:
            os.kill(pid, signal.SIGKILL)
    ...
    watch.remove(child)                                         # when it is reaped; a killed process is watched until then

This is needed where the kernel enforces no limit on memory. What a process takes between two looks, which is some tens of MiB,
goes unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

NEAR_S = 0.01
"""Seconds until the next look if a process has held more than half of its budget."""
FAR_S = 0.02
"""Seconds until the next look otherwise."""
MAX_FAILED_LOOKS = 10
"""The number of failed measurements in a row after which a process counts as impossible to measure."""


@dataclass(frozen=True)
class Findings:
    """The pids that need attention after one look."""

    over: tuple[int, ...] = ()
    """Processes that have exceeded their budget and must be killed."""
    unmeasured: tuple[int, ...] = ()
    """Processes that could not be measured ``MAX_FAILED_LOOKS`` times in a row, so that their budget is not enforced.

    This is the fault of the machine, not of the candidate, unless the process has ended. A process that was ``over`` is not among
    them: it has been killed, and cannot be measured once it is dead.
    """


@dataclass
class _Watched:
    """What is known of one process."""

    budget_bytes: int
    peak_bytes: int = 0
    n_failed_looks: int = 0
    """The number of measurements that have failed since the last one that succeeded."""

    @property
    def is_over(self) -> bool:
        """Whether the process has exceeded its budget at any time."""
        return self.peak_bytes > self.budget_bytes

    @property
    def is_unmeasured(self) -> bool:
        """Whether too many measurements in a row have failed."""
        return self.n_failed_looks >= MAX_FAILED_LOOKS and not self.is_over

    def add_measurement(self, footprint_bytes: int) -> None:
        """Note one measurement. A footprint of 0 means that it failed."""
        if not footprint_bytes:
            self.n_failed_looks += 1
            return
        self.n_failed_looks = 0
        self.peak_bytes = max(self.peak_bytes, footprint_bytes)


@dataclass
class MemoryWatch:
    """The memory budgets of the processes that are being watched."""

    baseline_bytes: int = 0
    """The memory that a child holds before it runs a program, which is added to each budget."""
    due: float = math.inf
    """The time of the next look, by the caller's clock: infinity if nothing is watched."""
    _watched: dict[int, _Watched] = field(default_factory=dict)

    def add(self, pid: int, budget_bytes: int) -> None:
        """Watch a process that was just forked. The next look is due at once."""
        self._watched[pid] = _Watched(budget_bytes + self.baseline_bytes)
        self.due = -math.inf

    def remove(self, pid: int) -> int:
        """Stop watching a process and return its highest footprint in bytes, or 0 if it was never measured."""
        watched = self._watched.pop(pid, None)
        if not self._watched:
            self.due = math.inf
        return watched.peak_bytes if watched else 0

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the processes that are being watched."""
        return tuple(self._watched)

    def look(self, now: float, footprints: Mapping[int, int]) -> Findings:
        """Judge the footprints of ``pids`` at the time ``now``, set ``due``, and return the processes that need attention.

        Footprints are in bytes. One that is unknown is 0 or absent.
        """
        for pid, watched in self._watched.items():
            watched.add_measurement(footprints.get(pid, 0))
        near = any(watched.peak_bytes > watched.budget_bytes // 2 for watched in self._watched.values())
        self.due = now + (NEAR_S if near else FAR_S) if self._watched else math.inf
        return Findings(
            over=tuple(pid for pid, watched in self._watched.items() if watched.is_over),
            unmeasured=tuple(pid for pid, watched in self._watched.items() if watched.is_unmeasured),
        )
