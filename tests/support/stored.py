"""Wait until a process that works on a run has stored so many rows, for example to kill it then."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import Popen
from typing import Any, Literal

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import reading

Table = Literal["attempts", "steps"]
PAUSE_S = 0.02
"""The seconds between two looks. Without a pause, looking would take a core from the process that is waited for."""


def n_stored(path: Path, table: Table = "attempts") -> int:
    """Return the number of rows on disk, which is 0 while the run's folder is still being made."""
    try:
        with reading(path) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except StoreError:
        return 0


def wait_for_rows(n: int, path: Path, process: Popen[Any], table: Table = "attempts") -> None:
    """Wait until ``n`` rows of a run are on disk or ``process`` has ended."""
    while n_stored(path, table) < n and process.poll() is None:
        time.sleep(PAUSE_S)
