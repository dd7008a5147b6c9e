"""Memory watched from outside, as where the kernel keeps no limit: with real processes, measured by psutil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch
from mlx_selfdebug.sandbox.processes.watching import wait_readable

GREEDY = "a = []\nwhile True: a.append(b'x' * (1 << 20))"


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def test_a_process_over_its_budget_is_ended_while_waiting() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", GREEDY]) as greedy:
        watch = MemoryWatch()
        watch.add(greedy.pid, 100 << 20)
        threading.Thread(target=lambda: (greedy.wait(), os.write(writing, b"x"))).start()
        assert wait_readable(reading, watch, lambda pid: resident_bytes(pid) if psutil.pid_exists(pid) else 0) == ()
        assert greedy.wait() == -signal.SIGKILL
        assert watch.remove(greedy.pid) > 100 << 20
    os.close(reading)
    os.close(writing)


def test_a_process_that_cannot_be_measured_is_told() -> None:
    reading, writing = os.pipe()
    watch = MemoryWatch()
    watch.add(12345678, 1)
    assert wait_readable(reading, watch, lambda _: 0) == (12345678,)
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="not known on macOS before Python 3.13")
def test_a_process_that_has_ended_by_itself_and_is_not_reaped_is_no_failure() -> None:
    reading, writing = os.pipe()
    watch = MemoryWatch()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        watch.add(ended.pid, 100 << 20)
        threading.Timer(1.0, lambda: os.write(writing, b"x")).start()
        assert wait_readable(reading, watch, lambda _: 0 if zombie(ended.pid) else 1) == ()
    os.close(reading)
    os.close(writing)


def zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_closed_descriptor_ends_the_wait() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert wait_readable(reading, MemoryWatch(), lambda _: 0) == ()
    os.close(reading)
