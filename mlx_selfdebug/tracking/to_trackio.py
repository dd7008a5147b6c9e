"""Write the points of a run to trackio.

By default trackio keeps them in a database on this machine. Where ``TRACKIO_SPACE_ID`` or ``TRACKIO_SERVER_URL`` is set, it sends
them to that Space or server instead.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from mlx_selfdebug.config import Config, flatten
from mlx_selfdebug.errors import TrackingError
from mlx_selfdebug.tracking.points import Point, series_of
from mlx_selfdebug.tracking.tracker import PROJECT, Tracker, run_name

STORED_S = 20.0
"""The longest time to wait until trackio's own thread has stored what was logged, in seconds."""
PAUSE_S = 0.05
"""The seconds between two checks whether everything is stored."""


class Trackio(Tracker):
    """One run in trackio."""

    def __init__(self, path: Path, config: Config) -> None:
        super().__init__()
        space, server = os.environ.get("TRACKIO_SPACE_ID"), os.environ.get("TRACKIO_SERVER_URL")
        self._is_local = not (space or server)
        if self._is_local:
            # Otherwise trackio would ask the hub for the name of a user who is logged in. Nothing here needs the hub.
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._trackio, self._storage = trackio, SQLiteStorage
        self._name = run_name(path)
        self.view = f"trackio show --project {PROJECT}" if self._is_local else str(space or server)
        settings = {key: value for key, value in flatten(config).items() if key != "track"}
        with ExitStack() as stack:
            # trackio reports errors of its own thread as warnings. They are recorded until ``close``, or until an error here.
            self._warnings = stack.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            with redirect_stdout(io.StringIO()):  # trackio prints to stdout, which may carry JSON.
                self._run = trackio.init(
                    PROJECT,
                    self._name,
                    config=settings,
                    resume="allow",
                    embed=False,
                    auto_log_cpu=False,
                    auto_log_gpu=False,
                )
            logs = self._read_logs(space or server, is_space=bool(space))
            self._stop_recording = stack.pop_all()
        self._n_logs = len(logs)
        """The number of points that the database has once everything is stored."""
        self._note_stored(logs)

    def write(self, points: Sequence[Point]) -> None:
        self._warnings.clear()
        for point in points:
            self._run.log(point.named, step=point.step)
        self._n_logs += len(points)
        deadline = time.monotonic() + STORED_S
        # How many points are stored is known only of the database on this machine.
        while self._is_local and self._n_stored() < self._n_logs:
            if self._warnings or time.monotonic() > deadline:
                raise TrackingError(str(self._warnings[0].message) if self._warnings else "it stores nothing")
            time.sleep(PAUSE_S)

    def close(self) -> None:
        with self._stop_recording, redirect_stdout(io.StringIO()):
            self._trackio.finish()

    def _n_stored(self) -> int:
        """Return the number of points of this run in the database."""
        return int(self._storage.get_log_count(PROJECT, self._name, run_id=self._run.id))

    def _read_logs(self, source: str | None, *, is_space: bool) -> list[Mapping[str, Any]]:
        """Return the points of this run in the database or, if there is a ``source``, on that Space or server."""
        if source is None:
            return list(self._storage.get_logs(PROJECT, self._name, run_id=self._run.id))
        from huggingface_hub import get_token
        from trackio.remote_client import RemoteClient

        client = RemoteClient(source, hf_token=get_token() if is_space else None)
        return list(client.predict(api_name="/get_logs", project=PROJECT, run=self._name, run_id=self._run.id))

    def _note_stored(self, logs: Sequence[Mapping[str, Any]]) -> None:
        """Note which points are stored already.

        A server returns only the last 3,000 points. So each series there counts as stored up to its last step.
        """
        for log in logs:
            for series in {series_of(name) for name in log if "/" in name}:
                self._sent.add((series, log["step"]))
                if not self._is_local:
                    self._last[series] = max(log["step"], self._last.get(series, -1))
