"""Who holds too much memory, and when to look again: the policy of an event loop, without clock or processes of its own.

    watch.add(child, budget_bytes)                                        # as it is forked
    ...
    if now >= watch.due:                                                  # watch.due bounds the loop's wait
        for pid in watch.look(now, {pid: footprint(pid) for pid in watch.pids}).over:
            os.kill(pid, signal.SIGKILL)
    ...
    watch.remove(child)                                                   # as it is reaped, not before

Needed where the kernel does not hold a limit itself. What a process takes between two looks goes unseen: some tens of MiB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

NEAR_S = 0.01
FAR_S = 0.02
BLIND_LOOKS = 10


@dataclass(frozen=True)
class Sight:
    """What one look found: processes ``over`` their budget, to be killed, and ``blind`` ones, which could not be measured for so
    many looks in a row that their budget does not hold: the fault of the machine, not of the candidate.
    """

    over: tuple[int, ...] = ()
    blind: tuple[int, ...] = ()


@dataclass
class _Watched:
    budget_bytes: int
    peak_bytes: int = 0
    unseen: int = 0

    def see(self, footprint_bytes: int) -> None:
        if not footprint_bytes:
            self.unseen += 1
            return
        self.unseen = 0
        self.peak_bytes = max(self.peak_bytes, footprint_bytes)


@dataclass
class MemoryWatch:
    """Budgets by process. ``baseline_bytes``, what a child holds before it runs a program, comes on top of each budget."""

    baseline_bytes: int = 0
    due: float = math.inf
    _watched: dict[int, _Watched] = field(default_factory=dict)

    def add(self, pid: int, budget_bytes: int) -> None:
        """Watch a process that was just forked; it is looked at as soon as the loop comes round."""
        self._watched[pid] = _Watched(budget_bytes + self.baseline_bytes)
        self.due = -math.inf

    def remove(self, pid: int) -> int:
        """Forget a process; its highest footprint in bytes, 0 if it was never seen."""
        watched = self._watched.pop(pid, None)
        if not self._watched:
            self.due = math.inf
        return watched.peak_bytes if watched else 0

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(self._watched)

    def look(self, now: float, footprints: Mapping[int, int]) -> Sight:
        """Judge by the footprints of ``pids`` in bytes, 0 or absent where unknown, and set ``due``."""
        for pid, watched in self._watched.items():
            watched.see(footprints.get(pid, 0))
        near = any(watched.peak_bytes > watched.budget_bytes // 2 for watched in self._watched.values())
        self.due = now + (NEAR_S if near else FAR_S) if self._watched else math.inf
        return Sight(
            over=tuple(pid for pid, watched in self._watched.items() if watched.peak_bytes > watched.budget_bytes),
            blind=tuple(pid for pid, watched in self._watched.items() if watched.unseen >= BLIND_LOOKS),
        )
