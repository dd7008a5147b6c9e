"""One process at a time opens a run for writing; a second is told who holds it.

The lock is the operating system's (``flock``): it ends with its holder, however that ends. What stands in ``run.lock`` is
for people.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from datetime import datetime
from pathlib import Path

from mlx_selfdebug.errors import StoreError

ELSEWHERE = "choose another folder with --run"


class RunLock:
    """Held from the moment it is made. Raises StoreError that names the holder if another holds it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = (folder / "run.lock").open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}", hint=ELSEWHERE) from error
        try:
            self._take(folder)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        if not self._file.closed:
            os.ftruncate(self._file.fileno(), 0)
            self._file.close()

    def _take(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{folder} is in use by {self._holder()}", hint=f"wait for it, or {ELSEWHERE}") from None
        except OSError as error:
            raise StoreError(f"{folder} cannot be locked: {error.strerror}", hint=ELSEWHERE) from error
        self._file.truncate(0)
        self._file.write(describe_process())
        self._file.flush()

    def _holder(self) -> str:
        self._file.seek(0)
        text = self._file.read(1000).strip()
        mine = text.startswith(f"process {os.getpid()} on {socket.gethostname()} ")
        return (text or "another process") + (", which is this one" if mine else "")


def describe_process() -> str:
    """This process for a person: id, host, command, since when it holds the lock."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()} ({_command()}), since {since}"


def _command() -> str:
    """The program and its command words; options are left out, they may be long or private."""
    program = Path(sys.argv[0] or "python")
    name = program.parent.name.replace("_", "-") if program.name == "__main__.py" else program.name
    words = [] if name == "-c" else list(_words(sys.argv[1:]))
    return " ".join([{"-c": "python -c"}.get(name, name), *words])


def _words(arguments: list[str]) -> list[str]:
    """The arguments before the first that is no plain lower-case word, two at most."""
    words: list[str] = []
    for argument in arguments[:2]:
        if not (argument.isascii() and argument.isalpha() and argument.islower()):
            break
        words.append(argument)
    return words
