"""One child process: started clean, measured, ended with its whole group. Knows nothing of checks or verdicts."""

from __future__ import annotations

import fcntl
import marshal
import math
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import CodeType

from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.ending import Ending
from mlx_selfdebug.sandbox.wire.channel import Channel, ChannelError
from mlx_selfdebug.sandbox.wire.codec import READY

START_S = 30.0
EXIT_GRACE_S = 1.0
ORPHAN_S = 300
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
}
_FLAGS = ("-S", "-s", "-P", "-B")

# The modules keep the built-ins they were born with, so a candidate that patches them does not break its own answers.
_BOOT = """\
import sys, marshal, posix
def read(size):
    data = b""
    while len(data) < size:
        more = posix.read(0, size - len(data))
        if not more:
            posix._exit(70)
        data += more
    return data
codes, arguments = marshal.loads(read(int.from_bytes(read(4), "little")))
for name, code in codes:
    module = sys.modules[name] = type(sys)(name)
    module.__dict__["__builtins__"] = dict(vars(sys.modules["builtins"]))
    exec(code, module.__dict__)
module.main(*arguments)
"""


class StartError(Exception):
    """The child could not be started: the machine's fault, not the candidate's."""


class ChildProcess:
    """A started child that has set its limits and waits for its source on ``channel``. Raises StartError."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self._ending: Ending | None = None
        self._closed = False
        try:
            self._pid = _spawn(theirs)
        except OSError as error:
            ours.close()
            raise StartError(f"cannot start {sys.executable}: {error}") from error
        finally:
            theirs.close()
        self._wait_ready(limits, folder)

    def _wait_ready(self, limits: Limits, folder: Path) -> None:
        lifetime_s = math.ceil(limits.wall_s) + ORPHAN_S
        arguments = (str(folder), lifetime_s, math.ceil(limits.cpu_s), limits.memory_bytes, limits.output_bytes)
        blob = marshal.dumps((_child_code(), arguments))
        try:
            self.channel.send_raw(len(blob).to_bytes(4, "little") + blob, START_S)
            kind = self.channel.receive(0, START_S).kind
        except ChannelError as error:
            kind, why = 0, f": {error}"
        else:
            why = ""
        if kind != READY:
            ending = self.end()
            raise StartError(f"the child did not start{why} (status {ending.status})")

    def wait_exit(self) -> Ending | None:
        """The ending of a process that closed its channel; None if it is still alive after a grace of a second."""
        deadline = time.monotonic() + EXIT_GRACE_S
        while self._ending is None and time.monotonic() < deadline:
            if self._reap(os.WNOHANG):
                break
            time.sleep(0.002)
        return self._ending

    def end(self) -> Ending:
        """Kill what is left of the group, reap, close. May be called again."""
        if not self._closed:
            self._closed = True
            alive = self._ending is None
            peak = _peak_of(self._pid) if alive else 0
            # Once only: later the number may be another process's.
            self._kill_group()
            if self._ending is None:
                self._reap(0, peak)
            if alive and self._ending is not None:
                self._ending = replace(self._ending, killed=True)
            self.channel.close()
        assert self._ending is not None
        return self._ending

    def _kill_group(self) -> None:
        kills = [os.killpg] if self._ending else [os.killpg, os.kill]
        for kill in kills:
            try:
                kill(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _reap(self, options: int, peak_bytes: int = 0) -> bool:
        try:
            pid, status, usage = os.wait4(self._pid, options)
        except ChildProcessError:  # someone else in this program waited for it
            self._ending = Ending(signal.SIGKILL, 0.0, peak_bytes)
            return True
        if pid == 0:
            return False
        self._ending = Ending(status, usage.ru_utime + usage.ru_stime, peak_bytes or _peak_of_dead(usage.ru_maxrss))
        return True


def _spawn(channel: socket.socket) -> int:
    # Descriptors 0 to 2 are targets below; a program that closed its own may have been given one of them.
    fd = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *_FLAGS, "-c", _BOOT],
            ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGXCPU],
        )
    finally:
        os.close(fd)


@cache
def _child_code() -> tuple[tuple[str, CodeType], ...]:
    folder = Path(__file__).parent
    files = (
        ("_selfdebug_codec", "../wire/codec.py"),
        ("_selfdebug_references", "references.py"),
        ("_selfdebug_programs", "programs.py"),
        ("_selfdebug_answers", "answers.py"),
        ("_selfdebug_child", "child.py"),
    )
    return tuple(
        (name, compile((folder / file).read_text("utf-8"), file, "exec", dont_inherit=True)) for name, file in files
    )


def _peak_of(pid: int) -> int:
    """Peak resident bytes of a living process; 0 where unknown."""
    if sys.platform != "linux":
        return 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024


def _peak_of_dead(ru_maxrss: int) -> int:
    """Bytes of the figure wait4 gives (KiB on Linux, bytes on macOS); 0 where it says nothing about the child."""
    if sys.platform == "darwin":
        return ru_maxrss
    # Linux starts the child's figure at the peak of the process that spawned it.
    peak = ru_maxrss * 1024
    return peak if peak > _peak_of(os.getpid()) else 0
