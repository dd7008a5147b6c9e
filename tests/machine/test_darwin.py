"""Memory of processes: the layouts the kernel fills in, and the limit of the address space, tried where RLIMIT_AS exists."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest

from mlx_selfdebug.machine import darwin

# One number a field, so that a field read by mistake shows which it was.
RUSAGE_INFO_V4 = bytes(range(16)) + struct.pack("=35Q", *range(100, 135))
TASKINFO = struct.pack("=6Q12i", *range(200, 206), *range(12))


def test_the_footprint_is_the_eighth_number_after_the_identifier() -> None:
    assert darwin.parse_footprint(RUSAGE_INFO_V4) == 107
    assert darwin.parse_footprint(RUSAGE_INFO_V4[:96]) == 107
    assert len(RUSAGE_INFO_V4) == 296


def test_the_size_of_the_map_is_the_first_number() -> None:
    assert darwin.parse_address_space(TASKINFO) == 200
    assert len(TASKINFO) == 96


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    functions: dict[str, object] = {}
    monkeypatch.setattr(darwin, "library_function", functions.get)
    return functions


def test_the_kernel_is_asked_for_the_oldest_version(library: dict[str, object]) -> None:
    def proc_pid_rusage(pid: int, version: int, buffer: object) -> int:
        assert (pid, version) == (42, 0)
        buffer[:] = RUSAGE_INFO_V4[:96]  # type: ignore[index]
        return 0

    library["proc_pid_rusage"] = proc_pid_rusage
    assert darwin.footprint(42) == 107


def test_what_the_kernel_does_not_tell_is_0(library: dict[str, object]) -> None:
    assert (darwin.footprint(42), darwin.address_space_bytes(42)) == (0, 0)
    library |= {"proc_pid_rusage": lambda *_: -1, "proc_pidinfo": lambda *_: 0}
    assert (darwin.footprint(42), darwin.address_space_bytes(42)) == (0, 0)


@pytest.mark.skipif(sys.platform != "darwin", reason="the kernel of a Mac")
def test_this_process_has_memory() -> None:
    assert 1 << 20 < darwin.footprint(os.getpid()) < darwin.address_space_bytes(os.getpid())


def test_limits_lie_above_what_is_mapped_and_grow() -> None:
    limits = darwin.address_space_limits(10**9 + 1, 10**8)
    assert limits[0] >= 11 * 10**8 + 1
    assert list(limits) == sorted(limits)
    assert all(limit % 4096 == 0 for limit in limits)


LIMITED = """
import mmap, os
from mlx_selfdebug.machine.darwin import limit_address_space
budget = 256 << 20
reserved = mmap.mmap(-1, 400 << 20)
def measure(pid):
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
limit = limit_address_space(budget, MEASURE)
mmap.mmap(-1, budget - (16 << 20)).close()
try:
    mmap.mmap(-1, 4 * budget)
except OSError:
    print("held" if limit else "held without a limit")
else:
    print("not held" if limit else "no limit")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize(
    ("measure", "said"),
    [("measure", "held"), ("lambda pid: measure(pid) - (300 << 20)", "held"), ("lambda pid: 0", "no limit")],
)
def test_a_limit_leaves_the_budget_and_refuses_more(measure: str, said: str) -> None:
    code = LIMITED.replace("MEASURE", measure)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{said}\n"


def test_a_limit_that_is_accepted_and_ignored_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(darwin.resource, "getrlimit", lambda _: (7, 9))
    monkeypatch.setattr(darwin.resource, "setrlimit", lambda _, pair: set_to.append(pair))
    assert darwin.limit_address_space(1 << 20, lambda _: 1 << 30) == 0
    assert set_to[-1] == (7, 9)
