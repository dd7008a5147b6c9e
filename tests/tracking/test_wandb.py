"""What wandb writes offline is what the run's database holds. The package is not one of development: these tests run where it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.store import Run
from mlx_selfdebug.values.step import Step

from .read_back import expected, figures_of, run_python

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SEND = "import json, sys; from mlx_selfdebug.tracking import send_run; print(json.dumps([vars(sent) for sent in send_run(sys.argv[1], 'wandb')]))"

BLOCK = 32768
"""The size of a block of a .wandb file, which is a log of LevelDB's format after a header of 7 bytes."""


def read_wandb(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of the history in a .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            items = Record.FromString(record).history.item
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            if row:
                yield row
            record = b""


def test_every_figure_is_in_the_offline_records_and_nothing_is_uploaded(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        for step in range(4):
            run.add_step(Step(step, 2.0 * 0.9**step, 400, 1e-4, 0.7, 1.25))
    ended = run_python(SEND, str(tmp_path / "run"), WANDB_API_KEY="", HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    [sent] = json.loads(ended.stdout)
    assert sent["points"] == 4
    assert sent["view"].startswith("wandb sync ")
    [folder] = (tmp_path / "run" / "wandb").glob("offline-run-*")
    logs = [log for file in folder.glob("*.wandb") for log in read_wandb(file)]
    figures = figures_of([{"step": log.pop("train/step"), **log} for log in logs])
    assert figures == expected(tmp_path / "run")
