"""One process at a time opens a run for writing; a second is told who holds it.

The lock is the operating system's (``flock``): it ends with its holder, however that ends. What stands in ``run.lock`` is
for people.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from mlx_selfdebug.errors import StoreError

ELSEWHERE = "choose another folder with --run"


class RunLock:
    """Held from the moment it is made. Raises StoreError that names the holder if another holds it."""

    def __init__(self, folder: Path) -> None:
        self._pid = os.getpid()
        try:
            self._handle: int | None = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}", hint=ELSEWHERE) from error
        try:
            _take(self._handle, folder)
        except BaseException:
            os.close(self._handle)
            raise
        _write(self._handle, describe_process())

    def release(self) -> None:
        if self._handle is not None:
            if self._pid == os.getpid():
                _write(self._handle, "")
            os.close(self._handle)
            self._handle = None


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 1000, 0).decode("utf-8", "replace").strip() or "another process"
        raise _in_use(folder, holder) from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be locked: {error.strerror}", hint=ELSEWHERE) from error


def _write(handle: int, text: str) -> None:
    # On a full disk the lock holds without its text; what cannot be stored is reported where it matters.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode("utf-8", "backslashreplace"), 0)


def _in_use(folder: Path, holder: str) -> StoreError:
    if holder.startswith(f"process {os.getpid()} on {socket.gethostname()} "):
        return StoreError(
            f"{folder} is in use by {holder}, which is this one",
            hint="run.close() on the one that is open here; `with sd.Run(...) as run:` does it by itself",
        )
    return StoreError(f"{folder} is in use by {holder}", hint=f"wait for it, or {ELSEWHERE}")


def describe_process() -> str:
    """This process for a person: id, host, command, since when it holds the lock."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()} ({_command()}), since {since}"


def _command() -> str:
    """The program, and the command words of our own: other arguments may be long or private."""
    program = Path(sys.argv[0] or "python")
    name = "mlx-selfdebug" if program.parts[-2:] == ("mlx_selfdebug", "__main__.py") else program.name
    if name == "mlx-selfdebug":
        return " ".join([name, *takewhile(_is_word, sys.argv[1:3])])
    return "python -c" if name == "-c" else name


def _is_word(argument: str) -> bool:
    return argument.isascii() and argument.isalpha() and argument.islower()
