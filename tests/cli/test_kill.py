"""A run killed with SIGKILL at random moments and started again ends with the rows of one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.store import read_attempts, reading
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_task

from ..support.stored import n_stored, wait_for_rows

pytestmark = pytest.mark.slow

KILLS = 20
DRAFTS = 8  # a task: enough that each of the killed processes finds something to do
SO_MANY = 24  # drafts a task: the run is not over before it can be interrupted
EXPRESSIONS = ("x * x", "x + x", "x ** 3", "-x", "x - 1", "x // 2")


def collect(
    folder: Path, run: str, model: Path, *, samples: int = 3, stderr: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlx_selfdebug", "collect", "--run", run, "--model", str(model), "--preset", "cpu"]
    command += ["--collect-tasks", "tasks.jsonl", "--collect-samples", str(samples)]
    command += ["--collect-batch-size", "6", "--collect-max-tokens", "24"]
    command += ["--collect-edits", "1", "--collect-forks", "1"]
    return subprocess.Popen(
        [*command, "--quiet"], cwd=folder, stdout=subprocess.DEVNULL, stderr=stderr, preexec_fn=heed_interrupts
    )


def heed_interrupts() -> None:
    """A test run in the background of a shell is started deaf to them, and so would its children be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with reading(path) as db:
        return [
            (a.id, a.kind, a.parent, a.prompt, a.completion, a.code, a.finish, a.verdict.outcome, a.verdict.failures, a.seed,
             a.n_read_tokens, a.n_tries)
            for a in read_attempts(db)
        ]  # fmt: skip


def test_a_run_killed_at_random_moments_ends_with_the_rows_of_an_uninterrupted_one(
    tmp_path: Path, tiny_folder: Path
) -> None:
    dump_tasks([make_task(f"f{i}", expression) for i, expression in enumerate(EXPRESSIONS)], tmp_path / "tasks.jsonl")
    assert collect(tmp_path, "whole", tiny_folder, samples=DRAFTS).wait(timeout=120) == 0
    whole = rows(tmp_path / "whole")
    moments = sorted(random.Random(0).sample(range(2 * len(whole) // 3), KILLS))
    for moment in moments:
        process = collect(tmp_path, "cut", tiny_folder, samples=DRAFTS)
        wait_for_rows(moment, tmp_path / "cut", process)
        process.kill()
        process.wait()
    assert 0 < n_stored(tmp_path / "cut") < len(whole)
    assert collect(tmp_path, "cut", tiny_folder, samples=DRAFTS).wait(timeout=120) == 0
    assert rows(tmp_path / "cut") == whole


def test_an_interrupted_run_says_it_can_go_on_and_exits_with_130(tmp_path: Path, tiny_folder: Path) -> None:
    dump_tasks([make_task(f"f{i}", expression) for i, expression in enumerate(EXPRESSIONS)], tmp_path / "tasks.jsonl")
    process = collect(tmp_path, "run", tiny_folder, samples=SO_MANY, stderr=subprocess.PIPE)
    wait_for_rows(1, tmp_path / "run", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert b"the same command goes on from there" in stderr
    assert b"Traceback" not in stderr
    assert collect(tmp_path, "run", tiny_folder, samples=SO_MANY).wait(timeout=120) == 0
