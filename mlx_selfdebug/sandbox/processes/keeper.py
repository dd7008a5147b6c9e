"""Run the keeper: a clean interpreter that starts one confined command, waits for it, and ends everything that the command started.

    caller --settings--> keeper --fork--> command --fork--> whatever it starts

Caller and keeper exchange lines of JSON: the settings; then the layers that are in force, or an error; then, once everything has
ended, how the command did. A single byte from the caller ends the command before.

The keeper is the first process of its namespace, so nothing that the command starts can outlive it: the kernel ends them all with
it. Where there are no namespaces, it adopts the command's orphans and ends them itself. It ends when the caller does, because the
control socket is closed then. It runs no code of the command, and takes from it nothing but the status with which it ended.

The keeper loads everything before it enters the namespaces, where its own interpreter may not exist.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from mlx_selfdebug.sandbox.confinement.kernel import (
    ADDR_NO_RANDOMIZE,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    call,
    prctl,
)
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.reach import Reach, Writable
from mlx_selfdebug.sandbox.confinement.system import CommandConfinement, command_confinement

CONTROL = 10
"""The descriptor of the control socket. Those from 0 to 2 are the command's."""
CHANNEL = 11
"""The descriptor that becomes the command's standard input, if the caller wants to talk with the command."""
_GIVEN_CHANNEL = 3
MAX_OPEN_FILES = 1024
KERNEL_ROOM = 2
"""How many times its limit of processes the kernel lets a command have.

The caller ends a command in which it sees more processes than the limit. The kernel's bound holds until it has seen them.
"""
_MAX_REPORT_BYTES = 1 << 16


def main() -> NoReturn:
    """Start the command of the settings that arrive on descriptor 0, the control socket, and stay with it until it ends.

    The command gets this process's descriptors 1 and 2, and 3 as its standard input if the settings say that it is a channel.
    """
    os.setsid()
    os.dup2(0, CONTROL, inheritable=False)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.closerange(CONTROL + 1, 1 << 16)
    control = socket.socket(fileno=CONTROL)
    try:
        settings = _settings(control)
        if settings["channel"]:
            os.dup2(_GIVEN_CHANNEL, CHANNEL, inheritable=False)
        os.closerange(3, CONTROL)
        _Keeper(control, settings).serve()
    except Exception as error:
        _say(control, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)


def _settings(control: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = control.recv(1 << 16)
        if not more:  # the caller is gone
            os._exit(0)
        data += more
    return dict(json.loads(data))


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


class _Keeper:
    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self._control = control
        self._settings = settings
        self._command = 0
        processes, without = KERNEL_ROOM * settings["limits"]["processes"], frozenset(settings["without"])
        self._confinement: CommandConfinement = command_confinement(_reach(settings), processes, without)

    def serve(self) -> NoReturn:
        """Start the command, tell the caller so, wait until the command ends or has to, and say how it ended."""
        self._confinement.separate()
        alone = os.getpid() == 1
        _adopt_orphans()
        wakeup = _wake_on_children()
        report = self._start()
        if report["error"]:
            raise RuntimeError(report["error"])
        _say(self._control, report)
        _release_descriptors(channel=self._settings["channel"])
        status, killed = self._wait(wakeup)
        _end_all(alone)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        cpu_s, peak_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit
        _say(self._control, {"status": status, "cpu_s": cpu_s, "peak_bytes": peak_bytes, "killed": killed})
        os._exit(0)

    def _start(self) -> dict[str, Any]:
        """Fork the command and return what it reported before it became the command."""
        reading, writing = os.pipe()
        self._command = os.fork()
        if not self._command:
            try:
                os.close(reading)
                _become(self._settings, self._confinement, writing)
            finally:
                os._exit(127)
        os.close(writing)
        data = b""
        while more := os.read(reading, _MAX_REPORT_BYTES):
            data += more
        os.close(reading)
        lines = data.splitlines() or [b'{"error": "the command\'s process ended before it reported"}']
        return dict(json.loads(lines[-1]))

    def _wait(self, wakeup: int) -> tuple[int, bool]:
        """Wait until the command has ended, and end it if the caller asks for that or is gone.

        Return the status of the command and whether it was ended.
        """
        killed = False
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if wakeup in ready:
                os.read(wakeup, 4096)
            status = self._reaped()
            if status is not None:
                return status, killed
            if CONTROL in ready:
                killed = True
                if not self._control.recv(1):
                    _end_all(os.getpid() == 1)
                    os._exit(0)
                _kill(self._command)

    def _reaped(self) -> int | None:
        """Reap every process that has ended, and return the status of the command if it is among them."""
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if not pid:
                return found
            if pid == self._command:
                found = status


def _reach(settings: dict[str, Any]) -> Reach:
    fields = dict(settings["reach"])
    fields["layout"] = Layout(**fields["layout"])
    fields["writable"] = tuple(Writable(**each) for each in fields["writable"])
    return Reach(**fields)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def _wake_on_children() -> int:
    """Return a descriptor that can be read as soon as a child has ended.

    The first process of a namespace gets no signal from within that it does not handle, and it handles this one alone.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _release_descriptors(*, channel: bool) -> None:
    """Let go of the command's output and channel, so that their end shows that every process of the command is gone."""
    for fd in (1, 2):
        os.dup2(0, fd)
    if channel:
        os.close(CHANNEL)


def _become(settings: dict[str, Any], confinement: CommandConfinement, report: int) -> NoReturn:
    """Confine this process and become the command. Report the layers, or what went wrong."""

    def say(error: str) -> None:
        answer = {"error": error, "layers": confinement.layers, "details": confinement.details}
        os.write(report, json.dumps(answer).encode() + b"\n")

    argv, environment = settings["argv"], settings["environment"]
    try:
        os.setsid()
        _reset_signals()
        os.makedirs(environment["HOME"], mode=0o700, exist_ok=True)
        os.chdir(settings["folder"])
        _set_limits(settings["limits"], count_processes=confinement.counts_own_processes)
        _fix_addresses()
        confinement.confine()
        missing = sorted(frozenset(settings["required"]).difference(confinement.layers))
        if missing:
            say("it has less confinement than was probed, without " + ", ".join(missing))
            os._exit(127)
        command = confinement.command(argv)
        if settings["channel"]:
            os.dup2(CHANNEL, 0)
        say("")
        os.execve(command[0], command, environment)
    except (OSError, ValueError) as error:
        say(f"{type(error).__name__}: {error}")
        os._exit(127)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _fix_addresses() -> None:
    """Have the command loaded at the same addresses each time, where the kernel allows it.

    What is ordered by the addresses of objects then comes in the same order in each run. Up to Python 3.11, a set that holds None
    does, and so the names of tests that are made from one.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            call("personality", ADDR_NO_RANDOMIZE)


def _set_limits(limits: dict[str, int], *, count_processes: bool) -> None:
    """Set the limits of this process and of each process that it starts."""
    wanted = {
        "RLIMIT_CPU": (limits["cpu_s"], limits["cpu_s"] + 1),
        "RLIMIT_FSIZE": (limits["disk_bytes"],) * 2,
        "RLIMIT_NOFILE": (MAX_OPEN_FILES,) * 2,
        "RLIMIT_CORE": (0, 0),
    }
    if sys.platform == "linux":
        wanted["RLIMIT_DATA"] = (limits["memory_bytes"],) * 2
    if count_processes:
        wanted["RLIMIT_NPROC"] = (KERNEL_ROOM * limits["processes"],) * 2
    for name, (soft, hard) in wanted.items():
        _lower(getattr(resource, name), soft, hard)


def _lower(which: int, soft: int, hard: int) -> None:
    highest = resource.getrlimit(which)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(which, (soft, hard))


def _end_all(alone: bool) -> None:
    """End and reap everything that the command has started.

    If this process is neither the first of a namespace nor can see what it has adopted, its own end is left to do that.
    """
    if not alone and not os.path.isdir("/proc/self"):
        return
    targets: Callable[[], list[int]] = (lambda: [-1]) if alone else _descendants
    while True:
        for pid in targets():
            _kill(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        select.select([], [], [], 0.002)


def _descendants() -> list[int]:
    """Return the numbers of all processes below this one, which can be seen only outside a namespace."""
    found, waiting = [], [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            children = [
                int(word) for tid in threads for word in Path(f"/proc/{pid}/task/{tid}/children").read_text().split()
            ]
        except OSError:
            continue
        found += children
        waiting += children
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
