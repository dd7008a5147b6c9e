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

    Processes that exceed their budget in ``watch`` are killed. If some processes could not be measured for too long, and have not
    ended, their numbers are returned at once. ``measure`` returns the bytes that a process holds, or 0 if it cannot be measured.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not poll.poll(_timeout_ms(watch.due)):
        findings = watch.look(time.monotonic(), {pid: measure(pid) for pid in watch.pids})
        for pid in findings.over:
            os.kill(pid, signal.SIGKILL)
        unmeasured = tuple(pid for pid in findings.unmeasured if not _has_ended(pid))
        if unmeasured:
            return unmeasured
    return ()


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended. It is not reaped. On macOS this is not known before Python 3.13, and False is returned."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _timeout_ms(due: float) -> float | None:
    """Return the milliseconds until ``due``, or None if no look is due."""
    return None if math.isinf(due) and due > 0 else max(0.0, (due - time.monotonic()) * 1000)
