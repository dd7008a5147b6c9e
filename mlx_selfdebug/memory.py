"""How much memory a stage takes: the bytes of the whole process tree, sampled while it runs.

The tree is this process, its descendants, and the process that watches it if there is one. On macOS what counts is the physical
footprint, which Activity Monitor calls memory and which includes what the GPU holds; elsewhere it is the resident size. Pages that
processes share are counted in each.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil

from mlx_selfdebug.machine.darwin import footprint

INTERVAL_S = 0.05
MOST_OF_A_CORE = 0.01
MOST_SAMPLES = 400
CHECK_S = 0.5
NEAR, FAR = 0.94, 0.85
"""Shares of the budget above which a batch is made narrower, and below which it may widen again."""


class History:
    """Bytes in time: (seconds, most bytes since the entry before), at most ``most`` entries however long it lasts."""

    def __init__(self, most: int = MOST_SAMPLES) -> None:
        self.samples: list[tuple[float, int]] = []
        self._most = most
        self._apart_s = 0.25

    def add(self, at_s: float, n_bytes: int) -> None:
        if self.samples and at_s < self.samples[-1][0] + self._apart_s:
            last_s, last_bytes = self.samples[-1]
            self.samples[-1] = last_s, max(last_bytes, n_bytes)
        else:
            self.samples.append((at_s, n_bytes))
        if len(self.samples) > self._most:
            self._apart_s *= 2
            both = zip(self.samples[::2], [*self.samples[1::2], (0.0, 0)], strict=False)
            self.samples = [(first[0], max(first[1], second[1])) for first, second in both]


class Meter:
    """``with Meter() as meter: ...`` then ``meter.peak_bytes``, ``meter.wall_s``, ``meter.history``; or while it runs.

    It looks 20 times a second, or less often where that would take more than a hundredth of a core.
    """

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self.peak_bytes = 0
        self.history = History()
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_all, name="memory-meter", daemon=True)
        self._start = self._end = 0.0

    @property
    def wall_s(self) -> float:
        return (self._end or time.monotonic()) - self._start

    def __enter__(self) -> Meter:
        self._start = time.monotonic()
        self._sample()
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
        pause = self._interval_s
        while not self._stop.wait(pause):
            begin = time.thread_time()
            self._sample()
            pause = max(self._interval_s, (time.thread_time() - begin) / MOST_OF_A_CORE)

    def _sample(self) -> None:
        n_bytes = tree_bytes()
        self.peak_bytes = max(self.peak_bytes, n_bytes)
        self.history.add(self.wall_s, n_bytes)


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


def watched_by(pid: int) -> None:
    """From now on the process ``pid``, which watches over this one, counts as part of the tree."""
    global _watcher
    _watcher = pid


_watcher: int | None = None


def tree_bytes() -> int:
    """Bytes of this process, all its descendants and its watcher now."""
    me = psutil.Process()
    watcher = [] if _watcher is None else [_watcher]
    return sum(map(process_bytes, [me.pid, *(child.pid for child in me.children(recursive=True)), *watcher]))


def process_bytes(pid: int) -> int:
    """The footprint of a process on macOS, its resident size elsewhere; 0 if there is none any more."""
    try:
        return footprint(pid) or int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
