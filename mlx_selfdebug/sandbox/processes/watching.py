"""Wait for a descriptor and end processes that hold too much memory meanwhile, where the kernel enforces no such limit."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable

from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch


def wait_readable(fd: int, watch: MemoryWatch, measure: Callable[[int], int]) -> tuple[int, ...]:
    """Wait until ``fd`` can be read or is closed, and return an empty tuple.

    If there are processes that could not be measured for too long, return their numbers at once instead. ``measure`` returns the
    bytes that a process holds.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not poll.poll(_timeout_ms(watch.due)):
        sight = watch.look(time.monotonic(), {pid: measure(pid) for pid in watch.pids})
        for pid in sight.over:
            os.kill(pid, signal.SIGKILL)
        if sight.blind:
            return sight.blind
    return ()


def _timeout_ms(due: float) -> float | None:
    return None if math.isinf(due) and due > 0 else max(0.0, (due - time.monotonic()) * 1000)
