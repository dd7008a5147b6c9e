"""Write how far a stage of a run has come to ``progress.json`` in the run's folder, so that other processes can show it.

    {"work": [{"name": "collect", "unit": "tasks", "done": 120, "total": 300, "note": "88 solved"}]}

The file is not a part of the run's records: nothing is computed from it, and a stage that ends well removes it. A stage that
fails or is killed leaves the file as it was.

    with ProgressFile(run.path, also=progress).stage("collect", len(tasks), "tasks") as stage:
        stage.advance(1, note="3 solved")
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.progress import NullProgress, Progress, Stage
from mlx_selfdebug.store.codec import parse
from mlx_selfdebug.store.files import write_atomically

FILE = "progress.json"
INTERVAL_S = 1.0
"""The shortest time between two writes of the file, in seconds. A write takes about a tenth of a millisecond."""


@dataclass
class Work:
    """A piece of work that is under way, as it was last reported."""

    name: str
    """A word or two for the work, such as "collect" or "audit"."""
    unit: str
    """What is counted, in the plural."""
    done: int = 0
    """The number of units that are done."""
    total: int | None = None
    """The number of units of the whole work; None if it is not known."""
    note: str = ""
    """What is going on, in a few words."""


@dataclass(frozen=True)
class _Contents:
    """The content of the file."""

    work: tuple[Work, ...] = ()
    """The pieces of work that are under way, each within the one before it."""


class ProgressFile:
    """A progress that writes the file in the folder ``run``, and passes everything on to the progress ``also``.

    It raises no error if the file cannot be written. The file then stays as it was.
    """

    def __init__(self, run: Path, also: Progress | None = None) -> None:
        self._file = run / FILE
        self._also = also or NullProgress()
        self._work: list[Work] = []
        self._next_write = 0.0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        """Begin a stage, as ``Progress.stage`` says. It is in the file until its block ends, or for good if the block fails."""
        with self._also.stage(name, total, unit) as also_stage:
            work = Work(name, unit, total=total)
            self._work.append(work)
            self._write()
            try:
                yield _FileStage(work, also_stage, self)
            except BaseException:
                # The file keeps how far the work had come.
                self._write()
                self._work.remove(work)
                raise
            self._work.remove(work)
            self._write()

    def report(self) -> None:
        """Write the file, unless it was written less than ``INTERVAL_S`` seconds ago."""
        if time.monotonic() >= self._next_write:
            self._write()

    def _write(self) -> None:
        """Write the file, or remove it if no work is under way."""
        self._next_write = time.monotonic() + INTERVAL_S
        with suppress(StoreError, OSError):
            if self._work:
                write_atomically(self._file, json.dumps({"work": [asdict(work) for work in self._work]}))
            else:
                self._file.unlink(missing_ok=True)


@dataclass(frozen=True)
class _FileStage:
    """A stage whose progress goes to the file and to another stage."""

    work: Work
    also: Stage
    file: ProgressFile = field(repr=False)

    def advance(self, n: int = 1, note: str = "") -> None:
        self.work.done += n
        self.work.note = note or self.work.note
        self.also.advance(n, note)
        self.file.report()


def read_work(run: Path) -> tuple[Work, ...]:
    """Return the work that is under way in the run at ``run``, or that was under way when its process ended.

    Each piece of work is within the one before it. There is none if the file does not exist or cannot be read.
    """
    try:
        return parse(_Contents, json.loads((run / FILE).read_text(encoding="utf-8"))).work
    except (OSError, ValueError):
        return ()
