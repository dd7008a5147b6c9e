"""Send the points of a run to trackers, each point once.

A lock lets only one process at a time send the points of a run. ``send_run`` sends what is stored now, and ``following.py`` keeps
sending while the run is under way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mlx_selfdebug.errors import SelfDebugError, StoreError, TrackingError
from mlx_selfdebug.store import open_stored
from mlx_selfdebug.tracking.points import Point, PointReader
from mlx_selfdebug.tracking.tracker import Tracker, open_tracker, require_trackers

logger = logging.getLogger(__name__)

LOCK_FILE = "tracking.lock"
"""The lock file in the folder of a run. The process that sends the run's points holds it."""


@dataclass(frozen=True)
class Sent:
    """The result of sending a run to a tracker."""

    tracker: str
    """The name of the tracker."""
    points: int
    """The number of points that the tracker did not have before."""
    view: str
    """What to type, or which address to open, to see the run in the tracker."""


class Sender:
    """A sender of the points of the run at ``path`` to the tracker ``name``. It opens the tracker when it needs it.

    After an error the tracker is closed. The next call opens it again, and asks it again which points it has.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._tracker: Tracker | None = None

    def open(self) -> str:
        """Open the tracker unless it is open, and return what to type, or which address to open, to see the run in it.

        Raises TrackingError if the tracker cannot be opened.
        """
        with self._closing_on_error():
            return self._open_once().view

    def send(self, points: Sequence[Point]) -> int:
        """Send the points that the tracker does not have yet, and return their number. Raises TrackingError if that fails."""
        with self._closing_on_error():
            return self._open_once().send(points)

    def close(self) -> None:
        """Close the tracker. Raises TrackingError if that fails."""
        with self._closing_on_error():
            tracker, self._tracker = self._tracker, None
            if tracker:
                tracker.close()

    def _open_once(self) -> Tracker:
        """Return the tracker, which is opened unless it is open."""
        if self._tracker is None:
            with open_stored(self._path) as run:
                config = run.config
            self._tracker = open_tracker(self.name, self._path, config)
        return self._tracker

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Close the tracker and raise TrackingError if the block fails. An error of closing it is not reported then."""
        try:
            yield
        # A tracker's package may raise any error, and none of them may end the run.
        except Exception as error:
            logger.debug("%s failed", self.name, exc_info=True)
            with suppress(TrackingError):
                self.close()
            text = str(error) if isinstance(error, SelfDebugError | OSError) else f"{type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, SelfDebugError) else None
            raise TrackingError(f"{self.name}: {' '.join(text.split()).rstrip('.')}", hint=hint) from error


def send_run(path: str | Path, trackers: str) -> list[Sent]:
    """Send the points of a run to trackers. ``trackers`` names them, separated by commas.

    The run may be finished or under way. Raises UsageError for a tracker that does not exist or is not installed, StoreError if the
    run cannot be read or another process sends its points, and TrackingError if a tracker fails.
    """
    names, folder = require_trackers(trackers), Path(path)
    points = PointReader(folder).read()
    with sending_alone(folder, timeout_s=0.0):
        return [_send_all(Sender(folder, name), points) for name in names]


def _send_all(sender: Sender, points: Sequence[Point]) -> Sent:
    """Open the tracker, send the points that it does not have, and close it."""
    try:
        view = sender.open()
        return Sent(sender.name, sender.send(points), view)
    finally:
        sender.close()


@contextmanager
def sending_alone(folder: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock that lets this process alone send the points of the run in ``folder``, inside the block.

    Raises StoreError if another process still has the lock after ``timeout_s`` seconds, or if the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder} is being tracked by another process, which sends all that is new",
            hint="wait until that process has ended",
        ) from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
