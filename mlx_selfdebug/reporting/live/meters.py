"""Measure a run under way from another process: the rate at which a count rises, and the memory of the run's processes."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from mlx_selfdebug.memory import History, tree_bytes_of
from mlx_selfdebug.reporting.records import STAGES, Records, Sample, StageRecord, budget_bytes
from mlx_selfdebug.store.lock import Holder

WINDOW_S = 60.0
"""The seconds over which a rate is averaged."""
MIN_WINDOW_S = 8.0
"""The seconds after which there is a rate at all. A rate over a shorter time would jump."""


class RateMeter:
    """A meter of the rate at which a count rises, over about the last ``WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, float]] = deque()
        """Pairs of a time and the count at that time, of about the last ``WINDOW_S`` seconds."""

    def add(self, count: float, at_s: float | None = None) -> None:
        """Add the count at the time ``at_s`` of the monotonic clock, by default now.

        If the count has fallen, it was started again, and earlier counts are forgotten.
        """
        now = time.monotonic() if at_s is None else at_s
        if self._readings and count < self._readings[-1][1]:
            self._readings.clear()
        self._readings.append((now, count))
        while len(self._readings) > 2 and self._readings[1][0] <= now - WINDOW_S:
            self._readings.popleft()

    @property
    def per_s(self) -> float | None:
        """The rate per second, or None if the counts cover less than ``MIN_WINDOW_S`` seconds."""
        if not self._readings:
            return None
        (first_s, first_count), (last_s, last_count) = self._readings[0], self._readings[-1]
        if last_s - first_s < MIN_WINDOW_S:
            return None
        return (last_count - first_count) / (last_s - first_s)


class MemoryMeter:
    """A meter of the memory that the processes of a run take during one stage.

    The stage itself measures its memory more often, but stores the measurements only at its end.

    Args:
        holder: the process that has the run open.
        stage: the name of the stage that it works on.
        begin_s: when the process began the stage, in seconds since the epoch, as far as is known.
    """

    def __init__(self, holder: Holder, stage: str, begin_s: float) -> None:
        self.holder = holder
        self.stage = stage
        self.n_bytes = 0
        """The last measurement."""
        self.peak_bytes = 0
        """The largest measurement."""
        self._begin_s = begin_s
        self._history = History()

    @property
    def wall_s(self) -> float:
        """The seconds since the process began the stage."""
        return time.time() - self._begin_s

    def look(self) -> None:
        """Measure the memory now, unless the process has ended or runs on another host."""
        if self.holder.is_alive:
            self.n_bytes = tree_bytes_of(self.holder.pid)
            self.peak_bytes = max(self.peak_bytes, self.n_bytes)
            self._history.add(self.wall_s, self.n_bytes)

    def added_to(self, records: Records) -> Records:
        """Return ``records`` with the time and memory of this session of the stage added to those of earlier sessions."""
        stages = {stage.name: stage for stage in records.stages}
        earlier = stages.get(self.stage) or StageRecord(
            name=self.stage,
            wall_s=0.0,
            peak_bytes=0,
            budget_bytes=budget_bytes(records.config, self.stage),
            done=False,
            parts={},
            memory=(),
        )
        samples = (Sample(earlier.wall_s + at_s, n_bytes) for at_s, n_bytes in self._history.samples)
        stages[self.stage] = replace(
            earlier,
            wall_s=earlier.wall_s + self.wall_s,
            peak_bytes=max(earlier.peak_bytes, self.peak_bytes),
            done=False,
            memory=(*earlier.memory, *samples),
        )
        return replace(records, stages=tuple(stages[name] for name in STAGES if name in stages))
