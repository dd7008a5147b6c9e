"""Measure a run from outside while it is watched: the rate at which a count rises, and the memory of its processes."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from mlx_selfdebug.memory import History, tree_bytes_of
from mlx_selfdebug.reporting.records import STAGES, Records, Sample, StageRecord, budget_bytes
from mlx_selfdebug.store.lock import Holder

WINDOW_S = 60.0
"""The time over which a rate is taken, in seconds."""
MIN_WINDOW_S = 8.0
"""The shortest time over which a rate is taken."""


class RateMeter:
    """The rate at which a count rises, over the last ``WINDOW_S`` seconds in which it was looked at."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, count: float, at_s: float | None = None) -> None:
        """Take note of the count at the time ``at_s`` of the monotonic clock, by default now. If it has fallen, begin anew."""
        now = time.monotonic() if at_s is None else at_s
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float | None:
        """The rate per second, or None if the count was not looked at for long enough."""
        if not self._seen:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s - first_s >= MIN_WINDOW_S else None


class MemoryMeter:
    """The memory of the processes of a run during one stage, measured whenever it is looked at.

    The stage itself measures more often, but stores what it measured only at its end.
    """

    def __init__(self, holder: Holder, stage: str, begin_s: float) -> None:
        """``begin_s`` is when the process began the stage, as far as is known, in seconds since the epoch."""
        self.holder = holder
        self.stage = stage
        self.n_bytes = 0
        """The last measurement."""
        self.peak_bytes = 0
        self._begin_s = begin_s
        self._history = History()

    @property
    def wall_s(self) -> float:
        """The seconds since the process began the stage."""
        return time.time() - self._begin_s

    def look(self) -> None:
        """Measure the memory now. A process on another host cannot be measured."""
        if self.holder.is_alive:
            self.n_bytes = tree_bytes_of(self.holder.pid)
            self.peak_bytes = max(self.peak_bytes, self.n_bytes)
            self._history.add(self.wall_s, self.n_bytes)

    def added_to(self, records: Records) -> Records:
        """Return ``records`` with this stage as it looks from outside, after what earlier sessions of it have stored."""
        stages = {stage.name: stage for stage in records.stages}
        before = stages.get(self.stage) or StageRecord(
            self.stage, 0.0, 0, budget_bytes(records.config, self.stage), False, {}, ()
        )
        samples = (Sample(before.wall_s + at_s, n_bytes) for at_s, n_bytes in self._history.samples)
        stages[self.stage] = replace(
            before,
            wall_s=before.wall_s + self.wall_s,
            peak_bytes=max(before.peak_bytes, self.peak_bytes),
            done=False,
            memory=(*before.memory, *samples),
        )
        return replace(records, stages=tuple(stages[name] for name in STAGES if name in stages))
