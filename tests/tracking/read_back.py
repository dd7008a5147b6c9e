"""What trackers have of a run, read from their own files, and what they are to have of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlx_selfdebug.tracking import PointReader

Figures = dict[tuple[str, int], list[float]]
"""The values of each figure at each step; more than one where a point was sent more than once."""

READ_TRACKIO = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
for record in SQLiteStorage.get_run_records("mlx-selfdebug"):
    run = {"project": "mlx-selfdebug", "run": record["name"], "run_id": record["id"]}
    print(json.dumps({"name": record["name"], "logs": SQLiteStorage.get_logs(**run), "config": SQLiteStorage.get_run_config(**run)}))
"""


def expected(path: Path, *, as_float32: bool = False) -> Figures:
    """Every figure of every point of a run, once."""
    return {
        (name, point.step): [float(np.float32(figure)) if as_float32 else float(figure)]
        for point in PointReader(path).read()
        for name, figure in point.named.items()
    }


def in_tensorboard(path: Path) -> Figures:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    figures: Figures = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            figures.setdefault((tag, event.step), []).append(event.value)
    return figures


def trackio_runs(folder: Path) -> list[dict[str, Any]]:
    """The name, the logs and the settings of every run in trackio's database in ``folder``."""
    ended = run_python(READ_TRACKIO, TRACKIO_DIR=str(folder))
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def figures_of(logs: list[Mapping[str, Any]]) -> Figures:
    figures: Figures = {}
    for log in logs:
        for name, figure in log.items():
            if "/" in name:
                figures.setdefault((name, log["step"]), []).append(float(figure))
    return figures


def run_python(code: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program apart from the tests, because trackio and wandb read the environment when they are imported."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )
