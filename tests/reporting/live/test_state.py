"""What a run is doing is seen from its folder alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlx_selfdebug.reporting.live.state import BETWEEN_S, read_state, stage_under_way
from mlx_selfdebug.reporting.records import read_outline
from mlx_selfdebug.store import Family, ProgressFile, Run
from mlx_selfdebug.store.under_way import Work, read_work

KILLED = """
import os, sys
from mlx_selfdebug.store import Run
run = Run(sys.argv[1])
os.kill(os.getpid(), 9)
"""


def closed_long_ago(path: Path) -> None:
    then = time.time() - BETWEEN_S - 1
    os.utime(path / "run.lock", (then, then))


def test_a_run_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    assert read_state(tmp_path / "run").phase == "waiting"
    (tmp_path / "run").mkdir()
    assert read_state(tmp_path / "run").phase == "waiting"


def test_a_run_that_a_process_has_open_is_under_way(run: Run) -> None:
    state = read_state(run.path)
    assert state.phase == "running"
    assert state.holder is not None
    assert state.holder.pid == os.getpid()


def test_a_run_whose_process_was_killed_has_stopped(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run")], check=False)
    state = read_state(tmp_path / "run")
    assert state.phase == "stopped"
    assert state.holder is not None


def test_a_run_that_was_closed_is_between_two_stages_for_a_while_and_then_has_stopped(tmp_path: Path) -> None:
    Run(tmp_path / "run").close()
    assert read_state(tmp_path / "run").phase == "between"
    closed_long_ago(tmp_path / "run")
    assert read_state(tmp_path / "run").phase == "stopped"


def test_a_run_with_a_summary_is_finished_unless_a_process_has_it_open(run: Run) -> None:
    run.summary_path.write_text("{}")
    assert read_state(run.path).phase == "running"
    run.close()
    assert read_state(run.path).phase == "finished"


def test_the_work_that_is_under_way_is_read(run: Run) -> None:
    with ProgressFile(run.path).stage("collect", 3, "tasks"):
        assert [work.name for work in read_state(run.path).work] == ["collect"]


@pytest.mark.parametrize(
    ("begun", "done", "work", "stage"),
    [
        ((), (), (), None),
        (("collect",), (), (), "collect"),
        (("collect",), (), ("audit",), "collect"),
        (("collect",), ("collect",), (), None),
        (("collect", "train"), ("collect",), ("train",), "train"),
        (("collect", "train", "rewards"), ("collect", "train"), (), "rewards"),
        (("collect", "train", "evaluate"), ("collect", "train", "evaluate"), ("evaluate",), "evaluate"),
    ],
)
def test_the_stage_under_way_is_the_last_that_was_begun_and_is_not_done(
    run: Run, begun: tuple[str, ...], done: tuple[str, ...], work: tuple[str, ...], stage: str | None
) -> None:
    for name in begun:
        run.remember(Family.MACHINE.key(name), {"versions": {}, "hardware": {}})
    for name in done:
        run.add_stage_time(name, 1.0, 1, done=True)
    assert stage_under_way(read_outline(run), tuple(Work(name, "tasks") for name in work)) == stage


def test_reading_the_state_disturbs_no_process_that_takes_the_lock(tmp_path: Path) -> None:
    for _ in range(20):
        with Run(tmp_path / "run") as run:
            assert read_state(run.path).phase == "running"
            assert read_work(run.path) == ()
