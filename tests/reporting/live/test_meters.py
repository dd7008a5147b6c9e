"""Rates are taken over the last minute, memory is measured from outside, and work is spaced out by what it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.reporting.live.meters import MIN_WINDOW_S, WINDOW_S, MemoryMeter, RateMeter
from mlx_selfdebug.reporting.live.pace import Pace
from mlx_selfdebug.reporting.records import read_outline
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.lock import read_holder

HOLD = """
import sys
from mlx_selfdebug.store import Run
with Run(sys.argv[1]):
    held = bytearray(80_000_000)
    print("ready", flush=True)
    sys.stdin.read()
"""


@given(st.floats(0.1, 100.0), st.floats(0.5, 20.0), st.integers(1, 40))
def test_a_steady_rate_is_measured_wherever_one_looks_from(rate: float, every_s: float, n_looks: int) -> None:
    meter = RateMeter()
    for i in range(n_looks + 1):
        meter.add(1000 + rate * every_s * i, every_s * i)
    if every_s * n_looks < MIN_WINDOW_S:
        assert meter.per_s is None
    else:
        assert meter.per_s == pytest.approx(rate)


def test_a_rate_forgets_what_was_before_the_last_minute() -> None:
    meter = RateMeter()
    for i in range(200):
        meter.add(min(i, 100), float(i))
    assert meter.per_s == 0.0
    assert 200 - WINDOW_S > 100


def test_a_count_that_falls_begins_anew() -> None:
    meter = RateMeter()
    meter.add(1000, 0.0)
    meter.add(5, 10.0)
    assert meter.per_s is None
    meter.add(25, 20.0)
    assert meter.per_s == 2.0


def test_a_count_that_was_never_looked_at_has_no_rate() -> None:
    assert RateMeter().per_s is None


def test_the_memory_of_another_process_follows_what_earlier_sessions_have_stored(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with Run(path) as run:
        run.add_stage_time("collect", 100.0, 5_000, done=False, memory=[(0.0, 5_000), (50.0, 4_000)])
        records = read_outline(run)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        holder = read_holder(path)
        assert holder
        meter = MemoryMeter(holder, "collect", time.time() - 7.0)
        meter.look()
        [stage] = meter.added_to(records).stages
        assert 80_000_000 < meter.n_bytes == stage.peak_bytes
        assert stage.wall_s == pytest.approx(107.0, abs=2.0)
        assert [sample.n_bytes for sample in stage.memory] == [5_000, 4_000, meter.n_bytes]
        assert stage.memory[-1].at_s == pytest.approx(107.0, abs=2.0)
        assert not stage.done
        process.communicate()
    meter.look()
    assert len(meter.added_to(records).stages[0].memory) == 3


def test_the_first_session_of_a_stage_is_added_to_the_other_stages(run: Run) -> None:
    run.add_stage_time("collect", 100.0, 5_000, done=True)
    holder = read_holder(run.path)
    assert holder
    stages = MemoryMeter(holder, "train", time.time()).added_to(read_outline(run)).stages
    assert [(stage.name, stage.done) for stage in stages] == [("collect", True), ("train", False)]
    assert stages[1].budget_bytes == 10 * 10**9


def use_the_processor(seconds: float) -> None:
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        pass


def test_work_that_takes_much_is_put_off_for_long() -> None:
    pace = Pace(min_s=0.0, max_share=0.01)
    assert pace.is_due
    begin = time.monotonic()
    with pace.working():
        use_the_processor(0.005)
    while not pace.is_due:
        time.sleep(0.01)
    assert time.monotonic() - begin >= 0.5


def test_work_that_takes_nothing_is_put_off_for_the_shortest_time() -> None:
    pace = Pace(min_s=0.2, max_share=0.01)
    with pace.working():
        pass
    assert not pace.is_due
    time.sleep(0.25)
    assert pace.is_due


def test_work_that_disturbs_nobody_is_not_put_off() -> None:
    pace = Pace(min_s=0.0, max_share=0.0001)
    with pace.working(limited=False):
        use_the_processor(0.01)
    assert pace.is_due
