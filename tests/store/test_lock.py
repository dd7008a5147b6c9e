"""One process at a time opens a run for writing, and a second is told who holds it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.lock import CLOCK_S, read_holder

HOLD = """
import sys
sys.argv = {argv}
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.lock import CLOCK_S, read_holder
with Run({run}):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(run: Path, argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the run open and was called with ``argv``."""
    code = HOLD.format(run=repr(str(run)), argv=argv)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.stdin.close()


def test_a_second_process_is_refused_by_id_host_command_and_time_of_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path, ["/bin/mlx-selfdebug", "collect", "--run", "x"]) as process:
        with pytest.raises(StoreError) as caught:
            Run(tmp_path)
        told = (
            f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()} (mlx-selfdebug collect), since 20"
        )
        assert str(caught.value).startswith(told)
        assert "wait for it" in str(caught.value.hint)


def test_a_run_is_free_when_its_holder_has_ended(tmp_path: Path) -> None:
    with holder(tmp_path, ["x"]):
        pass
    Run(tmp_path).close()


def test_a_run_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path, ["x"]) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run.lock").read_text().startswith("process")
        Run(tmp_path).close()


def test_the_command_of_a_holder_shows_no_options(tmp_path: Path) -> None:
    argv = ["/p/mlx_selfdebug/__main__.py", "collect", "--model", "secret"]
    with holder(tmp_path, argv), pytest.raises(StoreError, match=r"\(mlx-selfdebug collect\)"):
        Run(tmp_path)


def test_opening_a_run_twice_in_one_process_is_refused_and_says_so(run: Run) -> None:
    with pytest.raises(StoreError, match=f"process {os.getpid()} .* which is this one") as caught:
        Run(run.path)
    assert "run.close()" in str(caught.value.hint)


def test_a_closed_run_names_no_holder(tmp_path: Path) -> None:
    Run(tmp_path).close()
    assert (tmp_path / "run.lock").read_text() == ""


def test_others_can_see_who_holds_a_run_without_taking_it(tmp_path: Path) -> None:
    with holder(tmp_path, ["/bin/mlx-selfdebug", "collect", "--run", "x"]) as process:
        seen = read_holder(tmp_path)
        assert seen is not None
        assert (seen.pid, seen.host, seen.command) == (process.pid, socket.gethostname(), "mlx-selfdebug collect")
        assert seen.is_alive


def test_a_holder_that_was_killed_is_seen_to_be_gone(tmp_path: Path) -> None:
    with holder(tmp_path, ["x"]) as process:
        process.send_signal(signal.SIGKILL)
        # Until its parent has waited for it, the process is still in the table of processes.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seen = read_holder(tmp_path)
        assert seen is not None
        assert seen.is_alive is False
        process.wait()
        assert seen.is_alive is False


def test_another_process_that_was_given_the_same_id_is_not_the_holder(run: Run) -> None:
    seen = read_holder(run.path)
    assert seen is not None
    assert seen.is_alive
    assert replace(seen, since=seen.since - timedelta(days=365, seconds=CLOCK_S)).is_alive is False


def test_whether_a_holder_on_another_host_is_alive_is_not_known(run: Run) -> None:
    seen = read_holder(run.path)
    assert seen is not None
    assert replace(seen, host="elsewhere").is_alive is None


@pytest.mark.parametrize("text", ["", "process x on y (z), since now", "process 1 on y (z), since now", "\x00\xff"])
def test_a_lock_file_that_names_nobody_has_no_holder(tmp_path: Path, text: str) -> None:
    assert read_holder(tmp_path / "nowhere") is None
    (tmp_path / "run.lock").write_text(text)
    assert read_holder(tmp_path) is None
