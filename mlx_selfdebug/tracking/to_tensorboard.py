"""Write the points of a run as event files for TensorBoard, in the folder ``tensorboard`` of the run.

The package ``tensorboard`` writes and reads the files. Neither TensorFlow nor PyTorch is needed. TensorBoard keeps figures as
32-bit floats.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from mlx_selfdebug.config import Config, flatten
from mlx_selfdebug.tracking.points import Point, series_of
from mlx_selfdebug.tracking.tracker import Tracker

FOLDER = "tensorboard"
"""The folder of the event files in the folder of a run."""
PREFIX = "events.out.tfevents."
"""The beginning of the names of event files. The time follows, so the files are read in the order in which they were begun."""


class TensorBoard(Tracker):
    """The event files of one run. Each session adds a file as soon as it has something to write."""

    def __init__(self, path: Path, config: Config) -> None:
        super().__init__()
        self._folder = path / FOLDER
        self.view = f"tensorboard --logdir {shlex.quote(str(self._folder))}"
        self._config = config
        self._file: BinaryIO | None = None
        self._records: Any = None
        self._has_config = False
        for event in _stored_events(self._folder):
            names = [value.tag for value in event.summary.value]
            self._has_config = self._has_config or SESSION_START_INFO_TAG in names
            self._sent.update((series_of(name), event.step) for name in names)

    def write(self, points: Sequence[Point]) -> None:
        if self._file is None:
            self._folder.mkdir(exist_ok=True)
            self._file = (self._folder / _file_name()).open("xb")
            self._records = RecordWriter(self._file)
            self._write_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if not self._has_config:
            settings = {key: value for key, value in flatten(self._config).items() if key != "track"}
            self._write_event(Event(wall_time=time.time(), summary=hparams_pb(settings)))
            self._has_config = True
        for point in points:
            # All figures of a point are in one record, because readers skip a record that was not written to its end.
            values = [Summary.Value(tag=name, simple_value=figure) for name, figure in point.named.items()]
            self._write_event(Event(wall_time=time.time(), step=point.step, summary=Summary(value=values)))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write_event(self, event: Any) -> None:
        self._records.write(event.SerializeToString())


def _stored_events(folder: Path) -> Iterator[Any]:
    """Yield the events in all event files of a folder. A record that was cut short by a kill ends its file."""
    for file in sorted(folder.glob(f"{PREFIX}*")):
        yield from LegacyEventFileLoader(str(file)).Load()


def _file_name() -> str:
    """Return the name of an event file that is begun now. It comes after the names of earlier files."""
    return f"{PREFIX}{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
