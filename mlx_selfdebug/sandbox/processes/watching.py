"""Wait for a descriptor, and in the meantime end processes that hold too much memory.

This is needed where the kernel enforces no limit on memory.
"""

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

    Processes that exceed their budget in ``watch`` are killed. If some processes could not be measured for too long, their
    numbers are returned at once. ``measure`` returns the bytes that a process holds, or 0 if it cannot be measured.
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
    """Return the milliseconds until ``due``, or None if no look is due."""
    return None if math.isinf(due) and due > 0 else max(0.0, (due - time.monotonic()) * 1000)
