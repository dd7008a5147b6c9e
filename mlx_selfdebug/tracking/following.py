"""Send the points of a run to trackers while the run is under way, from a process of its own.

A tracker may print, take long or crash. In a process of its own, none of that affects the run. :func:`track` starts the process
(``python -m mlx_selfdebug.tracking``), which calls :func:`follow`. When the run ends, the process sends what is left and ends.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError, StoreError, TrackingError
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.store.database import LIST_RUNS
from mlx_selfdebug.tracking.points import PointReader
from mlx_selfdebug.tracking.sending import Sender, sending_alone
from mlx_selfdebug.tracking.tracker import require_trackers

logger = logging.getLogger(__name__)

POLL_S = 5.0
"""The seconds between two looks at a run, unless they would take too much of a core."""
MAX_CORE_SHARE = 0.01
"""The maximum share of one core that the looks at a run may take."""
END_S = 60.0
"""The longest time for sending what is left after the run has ended, in seconds.

It is also the longest time to wait at the beginning until another process stops sending the points of the run.
"""


@contextmanager
def track(run: StoredRun | str | Path, trackers: str) -> Iterator[None]:
    """Send the figures of ``run`` to trackers about every ``POLL_S`` seconds inside the block, and the rest at its end.

    ``run`` is a run or its folder, and ``trackers`` names trackers, separated by commas: "trackio", "wandb", "tensorboard". The
    records of the run are the source, so it does not matter which process writes them. A tracker that fails causes a warning and
    nothing else. Raises UsageError for a tracker that does not exist or is not installed, and StoreError if there is no run.
    """
    names = require_trackers(trackers)
    path = run.path if isinstance(run, StoredRun) else Path(run)
    if not (path / "run.db").exists():
        raise StoreError(f"{path} is not a run folder: it has no run.db", hint=LIST_RUNS)
    # The process has its own process group, so a Ctrl-C in the terminal reaches only the run.
    process = subprocess.Popen(
        [sys.executable, "-m", "mlx_selfdebug.tracking", str(path), ",".join(names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield
    finally:
        _end(process, _send_later(path, ",".join(names)))


def _end(process: subprocess.Popen[bytes], send_later: str) -> None:
    """Have the process send what is left, and wait until it has ended. It is killed if that takes longer than ``END_S``.

    ``send_later`` is the part of a warning that says how to send what is missing.
    """
    assert process.stdin is not None
    # Closing the pipe alone may not reach the process, because a forked process may hold it open. So a byte is written first.
    with suppress(OSError):
        process.stdin.write(b".")
        process.stdin.close()
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired:
        logger.warning("tracking was ended because it took more than %.0f s; %s", END_S, send_later)
        code = 0
    finally:
        process.kill()
        process.wait()
    if code:
        logger.warning("tracking ended early, with exit code %d; %s", code, send_later)


def follow(path: Path, names: Sequence[str], ended: threading.Event, say: Callable[[str], None]) -> None:
    """Send the points of the run at ``path`` to trackers until ``ended`` is set, and then the rest.

    ``say`` is called with a text for the user: where to see the run in each tracker, and the first error of each tracker. After
    an error, the tracker is tried again at the next look. Raises StoreError if another process sends the points of this run.
    """
    with sending_alone(path, timeout_s=END_S):
        follower = _Follower(path, names, say)
        while not ended.is_set():
            ended.wait(max(POLL_S, follower.look(under_way=True) / MAX_CORE_SHARE))
        follower.look(under_way=False)
        follower.close()


class _Follower:
    """A sender of what is new in a run, which reports the same thing only once."""

    def __init__(self, path: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
        self._path = path
        self._reader = PointReader(path)
        self._senders = [Sender(path, name) for name in names]
        self._say = say
        self._said: set[tuple[str, str]] = set()

    def look(self, *, under_way: bool) -> float:
        """Send what is new in the run to each tracker. Return the seconds of a core that reading the run took."""
        began = time.thread_time()
        try:
            points = self._reader.read(under_way=under_way)
        except SelfDebugError as error:
            # The run may be busy. While it is under way, the next look reads it again.
            if not under_way:
                self._say(f"tracking: {error}")
            return time.thread_time() - began
        took_s = time.thread_time() - began
        for sender in self._senders:
            with self._reporting(sender):
                self._say_once(sender, "view", f"tracking with {sender.name}: {sender.open()}")
                sender.send(points)
        return took_s

    def close(self) -> None:
        """Close all trackers."""
        for sender in self._senders:
            with self._reporting(sender):
                sender.close()

    @contextmanager
    def _reporting(self, sender: Sender) -> Iterator[None]:
        """Report the first error of a sender, and go on after every one."""
        try:
            yield
        except TrackingError as error:
            later = _send_later(self._path, sender.name)
            self._say_once(sender, "error", f"tracking with {error}; the run goes on, and {later}")

    def _say_once(self, sender: Sender, subject: str, text: str) -> None:
        """Report ``text``, unless something was reported about this subject of the sender: "view" or "error"."""
        if (sender.name, subject) not in self._said:
            self._said.add((sender.name, subject))
            self._say(text)


def _send_later(path: Path, names: str) -> str:
    """Return the end of a warning, which names the command that sends what is missing."""
    return f"what is missing can be sent with: mlx-selfdebug runs track {shlex.quote(str(path))} --to {names}"
