"""What the keeper of a confined command ends where it has neither a namespace nor a list of processes, as on macOS."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox.processes import keeper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")
LEAVES_A_CHILD = """
import os, sys, time
if not os.fork():
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_what_a_command_left_in_its_process_group_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", LEAVES_A_CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert command.stdout is not None
    left = int(command.stdout.readline())
    command.stdout.close()
    command.wait()
    os.kill(left, 0)
    monkeypatch.setattr(keeper.os.path, "isdir", lambda _: False)
    keeper._end_all(False, command.pid)
    monkeypatch.undo()
    for _ in range(500):
        if not is_running(left):
            return
        time.sleep(0.01)
    pytest.fail("it goes on")


def test_a_group_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    command = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    command.wait()
    monkeypatch.setattr(keeper.os.path, "isdir", lambda _: False)
    keeper._end_all(False, command.pid)


def is_running(pid: int) -> bool:
    """Whether the process is there and has not ended; nobody may have reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
