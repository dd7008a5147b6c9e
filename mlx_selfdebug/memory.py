"""Measure how much memory a stage takes, by sampling the bytes of the whole process tree while it runs.

The tree is this process, its descendants, and the process that watches over it if there is one. On macOS the physical footprint
counts, which Activity Monitor calls memory and which includes what the GPU holds. Elsewhere the resident size counts. Pages that
processes share are counted in each of them.
"""

from __future__ import annotations

import ctypes
import threading
import time
from types import TracebackType

import psutil

from mlx_selfdebug.machine.darwin import footprint

INTERVAL_S = 0.05
MAX_CORE_SHARE = 0.01
"""The maximum share of one core that a meter uses."""
MAX_SAMPLES = 400
CHECK_S = 0.5
"""The seconds that a governor waits before it measures the memory again."""
NEAR, FAR = 0.94, 0.85
"""Shares of the budget above which a batch is made narrower, and below which it may widen again."""


class History:
    """The memory over time, as pairs of the seconds since the start and the maximum bytes from then until the next pair.

    There are at most ``most`` pairs, however long the recording lasts: when there are more, neighbours are merged.
    """

    def __init__(self, most: int = MAX_SAMPLES) -> None:
        self.samples: list[tuple[float, int]] = []
        self._max_samples = most
        self._min_interval_s = 0.25

    def add(self, at_s: float, n_bytes: int) -> None:
        if self.samples and at_s < self.samples[-1][0] + self._min_interval_s:
            last_s, last_bytes = self.samples[-1]
            self.samples[-1] = last_s, max(last_bytes, n_bytes)
        else:
            self.samples.append((at_s, n_bytes))
        if len(self.samples) > self._max_samples:
            self._min_interval_s *= 2
            pairs = zip(self.samples[::2], [*self.samples[1::2], (0.0, 0)], strict=False)
            self.samples = [(first[0], max(first[1], second[1])) for first, second in pairs]


class Meter:
    """A meter of the memory and the wall time of a block: ``with Meter() as meter: ...``.

    The results are ``meter.peak_bytes``, ``meter.wall_s`` and ``meter.history``; they can also be read while the block runs.
    The memory is measured 20 times per second, or less often where that would take more than a hundredth of a core.
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
            pause = max(self._interval_s, (time.thread_time() - begin) / MAX_CORE_SHARE)

    def _sample(self) -> None:
        n_bytes = tree_bytes()
        self.peak_bytes = max(self.peak_bytes, n_bytes)
        self.history.add(self.wall_s, n_bytes)


class Governor:
    """A governor that keeps a decoder of at most ``most`` rows narrower while the process tree is near its memory budget."""

    def __init__(self, budget_bytes: int, most: int) -> None:
        self._budget = budget_bytes
        self._max_width = self._width = most
        self._next = 0.0

    def width(self) -> int:
        """Return the maximum number of rows to have now.

        The memory is measured at most twice per second. Near the budget, free memory is given back to the system. If that does
        not help there are a quarter fewer rows each time, and far from the budget one more.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + CHECK_S
            used = tree_bytes() / self._budget
            if used > NEAR:
                release_free_memory()
                used = tree_bytes() / self._budget
            if used > NEAR:
                self._width = max(1, self._width * 3 // 4)
            elif used < FAR:
                self._width = min(self._max_width, self._width + 1)
        return self._width


def release_free_memory() -> None:
    """Give memory that is free back to the system, where the C library can do that (glibc's ``malloc_trim``).

    After a wide batch, up to half a gigabyte of freed buffers was seen to stay with this process otherwise. It takes about 0.05 s.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def watched_by(pid: int | None) -> None:
    """Count the process ``pid``, which watches over this one, as part of the tree from now on; None means that no process does."""
    global _watcher
    _watcher = pid


_watcher: int | None = None


def tree_bytes() -> int:
    """Return the number of bytes that this process, all its descendants and its watcher take now."""
    me = psutil.Process()
    watcher = [] if _watcher is None else [_watcher]
    return sum(map(process_bytes, [me.pid, *(child.pid for child in me.children(recursive=True)), *watcher]))


def process_bytes(pid: int) -> int:
    """Return the footprint of a process on macOS and its resident size elsewhere, or 0 if the process has ended."""
    try:
        return footprint(pid) or int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
