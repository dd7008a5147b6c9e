"""A process of its own sends what a run stores while the run is under way, and never harms the run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError, UsageError
from mlx_selfdebug.store import Run
from mlx_selfdebug.tracking import send_run, track
from mlx_selfdebug.tracking.following import follow
from mlx_selfdebug.tracking.sending import sending_alone
from mlx_selfdebug.values.step import Step

from .read_back import expected, figures_of, in_tensorboard, trackio_runs

KILLS = 6
STEPS_EACH = 40


def add_steps(run: Run, first: int, n: int) -> None:
    for step in range(first, first + n):
        run.add_step(Step(step, 2.0 * 0.99**step, 400, 1e-4, 0.7, 1.25))


def tracked(path: Path) -> int:
    """The number of training steps that TensorBoard's files have so far."""
    if not (path / "tensorboard").exists():
        return 0
    return sum(tag == "train/loss" for tag, _ in in_tensorboard(path))


@pytest.mark.slow
def test_steps_are_sent_while_the_block_runs_and_the_rest_at_its_end(run: Run) -> None:
    pytest.importorskip("tensorboard")
    add_steps(run, 0, 3)
    with track(run, "tensorboard"):
        deadline = time.monotonic() + 60
        while tracked(run.path) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert tracked(run.path) == 3
        add_steps(run, 3, 2)
    assert in_tensorboard(run.path) == expected(run.path, as_float32=True)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_process_killed_at_random_moments_sends_every_point_once(
    tracker: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(tracker)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    command = [sys.executable, "-m", "mlx_selfdebug.tracking", str(run.path), tracker]
    moments = random.Random(0)
    for i in range(KILLS):
        add_steps(run, i * STEPS_EACH, STEPS_EACH)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"tracking with ")  # the tracker is open, and sending begins
            time.sleep(moments.choice([0.0, moments.uniform(0.0, 0.02), moments.uniform(0.0, 0.8)]))
            process.kill()
    with track(run, tracker):
        pass
    if tracker == "tensorboard":
        assert in_tensorboard(run.path) == expected(run.path, as_float32=True)
    else:
        [stored] = trackio_runs(tmp_path / "trackio")
        assert figures_of(stored["logs"]) == expected(run.path)


@pytest.mark.slow
def test_when_the_run_is_killed_the_rest_is_still_sent(run: Run) -> None:
    pytest.importorskip("tensorboard")
    program = "import sys, time, mlx_selfdebug as sd\nwith sd.track(sys.argv[1], 'tensorboard'):\n    print('begun', flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", program, str(run.path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        add_steps(run, 0, 5)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while tracked(run.path) < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tracked(run.path) == 5


def test_a_tracker_that_fails_is_reported_once_and_tried_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("mlx_selfdebug.tracking.following.POLL_S", 0.05)
    add_steps(run, 0, 2)
    in_the_way = run.path / "tensorboard"
    in_the_way.write_text("")
    said: list[str] = []
    ended = threading.Event()
    thread = threading.Thread(target=follow, args=(run.path, ["tensorboard"], ended, said.append))
    thread.start()
    while len(said) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    assert said[0] == f"tracking with tensorboard: tensorboard --logdir {in_the_way}"
    assert "exists" in said[1]
    assert f"the run goes on, and what is missing can be sent with: mlx-selfdebug runs track {run.path}" in said[1]
    in_the_way.unlink()
    ended.set()
    thread.join()
    assert len(said) == 2
    assert in_tensorboard(run.path) == expected(run.path, as_float32=True)


def test_a_process_that_dies_is_a_warning_and_not_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with track(run, "tensorboard"):
        add_steps(run, 0, 1)
    [record] = caplog.records
    assert record.getMessage() == (
        "tracking ended early, with exit code 1; what is missing can be sent with: "
        f"mlx-selfdebug runs track {run.path} --to tensorboard"
    )


def test_an_error_of_the_run_comes_through(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(ZeroDivisionError), track(run, "tensorboard"):
        raise ZeroDivisionError


def test_two_processes_do_not_send_the_same_run(run: Run) -> None:
    pytest.importorskip("tensorboard")
    add_steps(run, 0, 1)
    with sending_alone(run.path, timeout_s=0), pytest.raises(StoreError, match="is being tracked by another process"):
        send_run(run.path, "tensorboard")
    assert send_run(run.path, "tensorboard")[0].points == 1


def test_a_folder_without_a_run_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for send in (
        lambda: send_run(tmp_path / "none", "tensorboard"),
        lambda: track(tmp_path / "none", "tensorboard").__enter__(),
    ):
        with pytest.raises(StoreError, match="none is not a run folder"):
            send()
    assert os.listdir(tmp_path) == []


def test_an_unknown_tracker_is_refused_before_the_block(run: Run) -> None:
    with pytest.raises(UsageError, match="unknown tracker 'mlflow'"), track(run, "mlflow"):
        pytest.fail("the block was entered")
