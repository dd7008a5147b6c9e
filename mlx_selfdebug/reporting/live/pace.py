"""Space out work that is done again and again, so that it takes at most a share of one core."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Says when work is due: ``min_s`` seconds after its last beginning, or later if it takes more than ``max_share`` of a core."""

    def __init__(self, min_s: float, max_share: float) -> None:
        self._min_s = min_s
        self._max_share = max_share
        self._next_s = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next_s

    @contextmanager
    def working(self, *, limited: bool = True) -> Iterator[None]:
        """Measure the block's processor time in this thread, by which the next work is put off.

        If it is not ``limited``, the next work is due after ``min_s`` seconds however much this one took.
        """
        begin_s, begin_cpu_s = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            cpu_s = time.thread_time() - begin_cpu_s if limited else 0.0
            self._next_s = begin_s + max(self._min_s, cpu_s / self._max_share)
