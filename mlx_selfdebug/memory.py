"""How much memory a stage takes: the resident bytes of the whole process tree, sampled while it runs.

What is counted is what the operating system reports as resident, this process and its children summed; pages they share
are counted in each. On macOS resident size leaves out some GPU memory: the footprint Activity Monitor shows is not read yet.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil

INTERVAL_S = 0.2
CHECK_S = 0.5
NEAR, FAR = 0.94, 0.85
"""Shares of the budget above which a batch is made narrower, and below which it may widen again."""


class Meter:
    """``with Meter() as meter: ...`` then ``meter.peak_bytes`` and ``meter.wall_s``. Both may be read while it runs."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self.peak_bytes = 0
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="memory-meter", daemon=True)
        self._start = self._end = 0.0

    @property
    def wall_s(self) -> float:
        return (self._end or time.monotonic()) - self._start

    def __enter__(self) -> Meter:
        self._start = time.monotonic()
        self.peak_bytes = tree_bytes()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._end = time.monotonic()

    def _sample_all(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, tree_bytes())


class Governor:
    """Keeps a decoder narrower while the process tree is near its budget: ``width(now)`` is the most rows to have."""

    def __init__(self, budget_bytes: int, most: int) -> None:
        self._budget = budget_bytes
        self._most = self._width = most
        self._next = 0.0

    def width(self) -> int:
        """Looks at the memory at most twice a second: a quarter fewer rows when near the budget, more again when far from it."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + CHECK_S
            used = tree_bytes() / self._budget
            if used > NEAR:
                self._width = max(1, self._width * 3 // 4)
            elif used < FAR:
                self._width = min(self._most, self._width + 1)
        return self._width


def tree_bytes() -> int:
    """Resident bytes of this process and all its descendants now."""
    me = psutil.Process()
    total = int(me.memory_info().rss)
    for child in me.children(recursive=True):
        try:
            total += int(child.memory_info().rss)
        except psutil.Error:
            continue  # it ended between the listing and the look
    return total
