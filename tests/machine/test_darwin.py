"""Memory of processes on macOS: the layout that the kernel fills in."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from mlx_selfdebug.machine import darwin

# One number a field, so that a field read by mistake shows which it was.
RUSAGE_INFO_V4 = bytes(range(16)) + struct.pack("=35Q", *range(100, 135))


def test_the_footprint_is_the_eighth_number_after_the_identifier() -> None:
    assert darwin.parse_footprint(RUSAGE_INFO_V4) == 107
    assert darwin.parse_footprint(RUSAGE_INFO_V4[:96]) == 107
    assert len(RUSAGE_INFO_V4) == 296


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
    assert darwin.footprint(42) == 0
    library["proc_pid_rusage"] = lambda *_: -1
    assert darwin.footprint(42) == 0


@pytest.mark.skipif(sys.platform != "darwin", reason="the kernel of a Mac")
def test_this_process_has_memory() -> None:
    assert darwin.footprint(os.getpid()) > 1 << 20
