"""``--track`` and ``runs track``: the figures of a run in a tracker, whatever happens to the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from mlx_selfdebug.config import load_config
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_attempt, make_task, write_taught_model

from ..support.runs import make_run
from ..support.stored import wait_for_rows
from ..tracking.read_back import expected, in_tensorboard
from .test_cli import run_cli

pytestmark = pytest.mark.slow

SETTINGS = (
    "--preset", "demo", "--collect-tasks", "tasks.jsonl", "--collect-limit", "2", "--collect-samples", "6",
    "--collect-max-tokens", "48", "--eval-tasks", "more.jsonl", "--eval-limit", "1", "--eval-tokens", "16", "--eval-max-tokens", "8",
    "--sandbox-workers", "1", "--train-targets", "own", "--train-epochs", "6",
    "--train-held-back-share", "0.5", "--quiet",
)  # fmt: skip
KILLED_AT = ((3, 0), (3, 1), (3, 4))
"""The numbers of attempts and training steps that are stored when the run is killed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that was taught two tasks, these tasks, and one more for the evaluation."""
    here = tmp_path_factory.mktemp("track")
    square, double = make_task(), make_task("double", "x + x")
    dump_tasks([square, double], here / "tasks.jsonl")
    dump_tasks([make_task("triple", "x * 3")], here / "more.jsonl")
    lessons = {
        square: [square.reference, "def square(x):\n    return x"],
        double: [double.reference, "def double(x):\n    return 2"],
    }
    write_taught_model(here / "model", lessons)
    return here


def begin(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "run", "--run", "run", "--model", "model", *SETTINGS, *args]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_killed_in_every_stage_is_tracked_without_a_gap_or_a_double(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    for n_attempts, n_steps in KILLED_AT:
        process = begin(folder, "--track", "tensorboard")
        wait_for_rows(n_attempts, folder / "run", process)
        wait_for_rows(n_steps, folder / "run", process, "steps")
        process.kill()
        process.communicate()
    # The last stage ends with the process that watched over it, and then lets go of the run.
    for _ in range(60):
        process = begin(folder, "--json")
        stdout, stderr = process.communicate(timeout=600)
        if "is in use by" not in stderr:
            break
        time.sleep(1.0)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["attempts"]["total"] > 0
    assert "tracking with tensorboard: tensorboard --logdir run/tensorboard" in stderr
    stored, wanted = in_tensorboard(folder / "run"), expected(folder / "run", as_float32=True)
    assert {key for key, values in stored.items() if len(values) > 1} == set()
    # A step that was made again after a kill took other seconds than the first time.
    wanted = {key: value for key, value in wanted.items() if key[0] not in ("train/wall_s", "train/tokens_per_s")}
    assert {key: stored.get(key) for key in wanted} == wanted
    names = {name for name, _ in wanted}
    assert {"train/loss", "train/held_back/repaired", "pairs/repair", "stages/evaluate/wall_s"} <= names


def test_a_finished_run_is_sent_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    make_run(tmp_path / "run", tasks=4, pairs=2).close()
    counts = []
    for _ in range(2):
        result = run_cli("runs", "track", str(tmp_path / "run"), "--to", "tensorboard", "--json")
        assert result.returncode == 0, result.stderr
        counts += [sent["points"] for sent in json.loads(result.stdout)]
    assert counts[0] > 30
    assert counts[1] == 0
    text = run_cli("runs", "track", "run", "--to", "tensorboard", cwd=tmp_path).stdout
    assert text == "tensorboard: 0 points sent. To see them: tensorboard --logdir run/tensorboard\n"


def test_a_tracker_that_is_not_installed_is_refused_before_any_work(tmp_path: Path) -> None:
    try:
        metadata.version("wandb")
    except metadata.PackageNotFoundError:
        result = run_cli("run", "--track", "wandb", cwd=tmp_path)
        assert result.returncode == 2
        assert "the tracker wandb is not installed\n  help: pip install 'mlx-selfdebug[wandb]'" in result.stderr
        assert list(tmp_path.iterdir()) == []
    else:
        pytest.skip("wandb is installed here")


def test_a_file_and_the_environment_may_name_trackers(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('track = "trackio"\n')
    assert load_config(file=tmp_path / "c.toml", environment={}).track == "trackio"
    assert load_config(environment={"MLX_SELFDEBUG_TRACK": "wandb"}).track == "wandb"


def test_a_run_may_be_tracked_elsewhere_later(tmp_path: Path) -> None:
    with Run(tmp_path, load_config(overrides={"track": "tensorboard"}, environment={})) as run:
        run.add_attempt(make_attempt())
    with Run(tmp_path, load_config(overrides={"track": ""}, environment={})) as run:
        assert run.config.track == ""


def test_the_shell_completes_the_last_name_of_several() -> None:
    env = {**os.environ, "_MLX_SELFDEBUG_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    env["COMP_WORDS"] = "mlx-selfdebug run --track trackio,tens"
    result = subprocess.run(
        [sys.executable, "-m", "mlx_selfdebug"], capture_output=True, text=True, env=env, timeout=60
    )
    assert "plain,trackio,tensorboard" in result.stdout.splitlines()
