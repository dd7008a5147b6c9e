"""The meter counts what the operating system counts, over the whole tree, at little cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug import memory
from mlx_selfdebug.memory import History, Meter, process_bytes, set_watcher, tree_bytes, tree_bytes_of

HOLD = "import sys; held = bytearray(80_000_000); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def holder() -> object:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_childs_memory_counts(holder: subprocess.Popen[bytes]) -> None:
    assert tree_bytes() - process_bytes(os.getpid()) > 80_000_000
    assert process_bytes(holder.pid) > 80_000_000


def test_the_watchers_memory_counts() -> None:
    alone = tree_bytes()
    set_watcher(os.getppid())
    try:
        assert tree_bytes() > alone
    finally:
        set_watcher(None)


def test_what_else_the_watcher_has_started_counts() -> None:
    stage = "import os; from mlx_selfdebug.memory import set_watcher, tree_bytes; set_watcher(os.getppid()); print(tree_bytes())"
    watcher = (
        "import subprocess, sys\n"
        f"held = subprocess.Popen([sys.executable, '-c', {HOLD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "held.stdout.readline()\n"
        f"subprocess.run([sys.executable, '-c', {stage!r}], check=True)\n"
        "held.kill()\n"
    )
    ended = subprocess.run([sys.executable, "-c", watcher], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 80_000_000 + 3 * 5_000_000


def test_a_process_that_has_ended_has_no_memory(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    assert process_bytes(holder.pid) == 0
    assert tree_bytes_of(holder.pid) == 0


def test_the_tree_of_another_process_is_counted_with_its_children() -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tree_bytes_of(process.pid) - process_bytes(process.pid) > 80_000_000
        process.communicate()


def test_the_process_that_watches_over_a_stage_is_counted_with_it() -> None:
    command = [sys.executable, "-c", HOLD]
    for more, is_watched in (([], False), (["--watched"], True)):
        with subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            rest = tree_bytes_of(process.pid) - process_bytes(process.pid)
            assert (rest > 0) == is_watched
            process.communicate()


def test_on_macos_the_footprint_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "footprint", lambda _pid: 123)
    assert process_bytes(os.getpid()) == 123


def test_the_meter_sees_a_peak_that_is_over_in_a_quarter_of_a_second() -> None:
    with Meter() as meter:
        before = meter.peak_bytes
        held = bytearray(200_000_000)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(0.25)
        del held
    assert meter.peak_bytes > before + 190_000_000


def test_a_costly_look_is_taken_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def costly() -> int:
        looks.append(time.monotonic())
        begin = time.thread_time()
        while time.thread_time() - begin < 0.01:
            pass
        return 1

    monkeypatch.setattr(memory, "tree_bytes", costly)
    with Meter(interval_s=0.01):
        time.sleep(0.5)
    assert len(looks) <= 4


@given(st.lists(st.tuples(st.floats(0.001, 30.0), st.integers(1, 10**10)), min_size=1, max_size=300))
def test_a_history_stays_short_keeps_the_peak_and_is_in_order(steps: list[tuple[float, int]]) -> None:
    history, at_s = History(max_samples=16), 0.0
    for seconds, n_bytes in steps:
        at_s += seconds
        history.add(at_s, n_bytes)
    times = [sample[0] for sample in history.samples]
    assert 1 <= len(times) <= 16
    assert times == sorted(set(times))
    assert max(sample[1] for sample in history.samples) == max(step[1] for step in steps)


def test_a_meter_keeps_its_history(holder: subprocess.Popen[bytes]) -> None:
    with Meter() as meter:
        time.sleep(0.6)
    assert len(meter.history.samples) >= 2
    assert max(n_bytes for _, n_bytes in meter.history.samples) == meter.peak_bytes
