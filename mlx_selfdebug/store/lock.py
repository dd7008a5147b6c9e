"""Let one process at a time open a run for writing, and tell a second one which process holds it.

The lock is an ``flock``, so the operating system releases it when the holder ends, even if the holder is killed. The text in
``run.lock`` describes the holder, for people and for programs that only read the run:

    process 4711 on first.local (mlx-selfdebug collect), since 2026-12-01 09:05:00+01:00

A holder that closes the run empties the file. A holder that was killed leaves its text there.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path

import psutil

from mlx_selfdebug.errors import StoreError

CHOOSE_ANOTHER = "choose another folder with --run"
FILE = "run.lock"
"""The name of the lock file in the run's folder."""
CLOCK_S = 5.0
"""The tolerance in seconds when times are compared: the system may date the start of a process a little too late."""
_DESCRIPTION = re.compile(r"process (\d+) on (.+?) \((.*)\), since (.+)", re.DOTALL)
"""Matches what ``describe_process`` returns: the id, the host, the command and the time."""


class RunLock:
    """The lock on a run folder. It is held from its creation until ``release`` is called.

    Raises StoreError if the folder cannot be written to, or if another process holds the lock, which the error then names.
    """

    def __init__(self, folder: Path) -> None:
        self._pid = os.getpid()
        try:
            self._handle: int | None = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}", hint=CHOOSE_ANOTHER) from error
        try:
            _take(self._handle, folder)
        except BaseException:
            os.close(self._handle)
            raise
        _write(self._handle, describe_process())

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._handle is not None:
            # A forked child shares the lock file with its parent and must not erase the parent's text.
            if self._pid == os.getpid():
                _write(self._handle, "")
            os.close(self._handle)
            self._handle = None


@dataclass(frozen=True)
class Holder:
    """A process that has a run open for writing, or that ended before it could close the run."""

    pid: int
    host: str
    command: str
    """The name of the program and, for mlx-selfdebug, the command, such as "mlx-selfdebug collect"."""
    since: datetime
    """When the process opened the run, to the second."""

    @property
    def is_alive(self) -> bool | None:
        """Whether the process still runs. None if it runs on another host, which cannot be known from here."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            # The system may have given the id to another process. That one began only after the lock was taken.
            is_another = process.create_time() > self.since.timestamp() + CLOCK_S
            return not is_another and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def read_holder(folder: Path) -> Holder | None:
    """Return the process that has the run in ``folder`` open, or that was killed while it had. None if the last one closed it.

    The lock itself is not touched, so a process that wants to take it at this moment is not disturbed.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not (described := _DESCRIPTION.fullmatch(text)):
        return None
    pid, host, command, since = described.groups()
    try:
        return Holder(int(pid), host, command, datetime.fromisoformat(since))
    except ValueError:
        return None


def _take(handle: int, folder: Path) -> None:
    """Take the lock. Raises StoreError if another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 1000, 0).decode("utf-8", "replace").strip() or "another process"
        raise _in_use(folder, holder) from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be locked: {error.strerror}", hint=CHOOSE_ANOTHER) from error


def _write(handle: int, text: str) -> None:
    # The lock works without its text, so an error such as a full disk is not raised here. A write to the database will raise it.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode("utf-8", "backslashreplace"), 0)


def _in_use(folder: Path, holder: str) -> StoreError:
    """Return the StoreError for a run that ``holder`` has locked: another process, or another ``Run`` in this one."""
    if holder.startswith(f"process {os.getpid()} on {socket.gethostname()} "):
        return StoreError(
            f"{folder} is in use by {holder}, which is this one",
            hint="call run.close() on the run that is open here; `with sd.Run(...) as run:` closes it by itself",
        )
    return StoreError(f"{folder} is in use by {holder}", hint=f"wait for it to end, or {CHOOSE_ANOTHER}")


def describe_process() -> str:
    """Return a description of this process for people to read: its id, host and command, and the present time."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()} ({_command()}), since {since}"


def _command() -> str:
    """Return the program's name and, for mlx-selfdebug, the command, such as "mlx-selfdebug runs list".

    Options are left out, because they may be long or private.
    """
    program = Path(sys.argv[0] or "python")
    name = "mlx-selfdebug" if program.parts[-2:] == ("mlx_selfdebug", "__main__.py") else program.name
    if name == "mlx-selfdebug":
        return " ".join([name, *takewhile(_is_word, sys.argv[1:3])])
    return "python -c" if name == "-c" else name


def _is_word(argument: str) -> bool:
    return argument.isascii() and argument.isalpha() and argument.islower()
