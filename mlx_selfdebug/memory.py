"""Measure how much memory a stage takes, and keep a decode batch within its memory budget.

:class:`Meter` samples the bytes of the whole process tree while a block runs. :class:`Governor` tells a decoder how many rows it
may have.

The tree is this process, its descendants, and the process that watches over it with its descendants, if there is one. On macOS the
physical footprint counts, which Activity Monitor calls memory and which includes what the GPU holds. Elsewhere the resident size
counts. Pages that processes share are counted in each of them.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from types import TracebackType

import psutil

from mlx_selfdebug.machine.darwin import footprint

INTERVAL_S = 0.05
"""The seconds between two measurements of a meter, unless that would take too much of a core."""
MAX_CORE_SHARE = 0.01
"""The maximum share of one core that a meter uses."""
MAX_SAMPLES = 400
"""The maximum length of a history."""
FIRST_SAMPLE_S = 0.25
"""The seconds that a sample covers at first. After 100 s, which is ``MAX_SAMPLES`` samples, they begin to cover more."""
CHECK_S = 0.5
"""The seconds that a governor waits before it measures the memory again."""
NARROW_ABOVE, WIDEN_BELOW = 0.94, 0.85
"""Shares of the budget above which a batch is made narrower, and below which it may widen again."""


class History:
    """The memory over time, in at most ``max_samples`` samples, however long the recording lasts.

    When there are more samples, neighbours are merged, so that each sample covers twice the time from then on.
    """

    def __init__(self, max_samples: int = MAX_SAMPLES) -> None:
        self.samples: list[tuple[float, int]] = []
        """Pairs: the seconds since the start, and the maximum number of bytes from then until the next sample."""
        self._max_samples = max_samples
        self._sample_s = FIRST_SAMPLE_S

    def add(self, at_s: float, n_bytes: int) -> None:
        """Add a measurement of ``n_bytes`` that was made ``at_s`` seconds after the start, not before the last one."""
        if self.samples and at_s < self.samples[-1][0] + self._sample_s:
            last_s, last_bytes = self.samples[-1]
            self.samples[-1] = last_s, max(last_bytes, n_bytes)
        else:
            self.samples.append((at_s, n_bytes))
        if len(self.samples) > self._max_samples:
            self._merge_neighbours()

    def _merge_neighbours(self) -> None:
        self._sample_s *= 2
        # If the number of samples is odd, the last one is paired with an empty sample.
        pairs = zip(self.samples[::2], [*self.samples[1::2], (0.0, 0)], strict=False)
        self.samples = [
            (start_s, max(first_bytes, second_bytes)) for (start_s, first_bytes), (_, second_bytes) in pairs
        ]


class Meter:
    """A meter of the memory and the wall time of a block: ``with Meter() as meter: ...``.

    The results are ``meter.peak_bytes``, ``meter.wall_s`` and ``meter.history``; they can also be read while the block runs.
    The memory is measured every ``interval_s`` seconds, or less often where that would take more than a hundredth of a core.
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
        """The seconds from the start of the block to its end, or until now while the block runs."""
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
    """A governor that narrows a decoder's batch of ``max_width`` rows while the process tree is near its memory budget."""

    def __init__(self, budget_bytes: int, max_width: int) -> None:
        self._budget_bytes = budget_bytes
        self._max_width = self._width = max_width
        self._next_check = 0.0

    def width(self) -> int:
        """Return the maximum number of rows that the batch should have now.

        The memory is measured at most once every ``CHECK_S`` seconds. Near the budget, free memory is given back to the system.
        If the tree is still near the budget, the width shrinks by a quarter. Far from the budget, the width grows by one row.
        """
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK_S
            share = tree_bytes() / self._budget_bytes
            if share > NARROW_ABOVE:
                release_free_memory()
                share = tree_bytes() / self._budget_bytes
            if share > NARROW_ABOVE:
                self._width = max(1, self._width * 3 // 4)
            elif share < WIDEN_BELOW:
                self._width = min(self._max_width, self._width + 1)
        return self._width


def release_free_memory() -> None:
    """Give freed memory back to the system, where the C library can do that (glibc's ``malloc_trim``).

    Otherwise, up to half a gigabyte of freed buffers was seen to stay with this process after a wide batch. A call takes about
    0.05 s.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_watcher_pid: int | None = None


def set_watcher(pid: int | None) -> None:
    """Count the process ``pid``, which watches over this one, and its descendants as part of the tree from now on.

    None means that no process watches over this one.
    """
    global _watcher_pid
    _watcher_pid = pid


def tree_bytes() -> int:
    """Return the number of bytes that this process, its watcher and all descendants of both take now."""
    pids = set() if _watcher_pid is None else _with_descendants(_watcher_pid)
    # A watcher has usually started this process, which is then among its descendants.
    if os.getpid() not in pids:
        pids |= _with_descendants(os.getpid())
    return sum(map(process_bytes, pids))


def tree_bytes_of(pid: int) -> int:
    """Return the number of bytes that another process, all its descendants and its watcher take now, or 0 if it has ended.

    The process has a watcher if its command line contains ``--watched`` (``cli/supervise.py``). The watcher is then its parent.
    """
    try:
        process = psutil.Process(pid)
        pids = [pid, *(child.pid for child in process.children(recursive=True))]
        if "--watched" in process.cmdline():
            pids.append(process.ppid())
    except psutil.Error:
        return 0
    return sum(map(process_bytes, pids))


def _with_descendants(pid: int) -> set[int]:
    """Return the ids of a process and of its descendants, or none if the process has ended."""
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def process_bytes(pid: int) -> int:
    """Return the footprint of a process on macOS and its resident size elsewhere, in bytes, or 0 if the process has ended."""
    try:
        return footprint(pid) or int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
