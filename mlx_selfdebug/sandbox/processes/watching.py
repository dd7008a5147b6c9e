"""Waits for a descriptor, and meanwhile ends processes that hold too much memory: where the kernel keeps no such limit."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable

from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch


def wait_readable(fd: int, watch: MemoryWatch, measure: Callable[[int], int]) -> tuple[int, ...]:
    """``measure`` gives the bytes a process holds. Returns when ``fd`` has something or is closed, or at once with the
    processes that could not be measured for too long.
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
