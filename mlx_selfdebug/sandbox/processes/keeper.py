"""Run the keeper: a clean interpreter that starts one confined command, waits for it, and ends everything that the command started.

    caller --settings--> keeper --fork--> command --fork--> whatever it starts

Caller and keeper exchange lines of JSON over a control socket: ``Settings`` from the caller, then ``Started`` from the keeper,
and ``Done`` from the keeper once everything has ended.

    {"argv": ["/usr/bin/python3", "-c", "print(1)"], "environment": {"HOME": "/tmp/x/home"}, "folder": "/tmp/project", ...}
    {"error": "", "layers": ["namespaces", "landlock", "seccomp"], "details": {"landlock": "ABI 4: files, TCP", ...}}
    {"status": 0, "cpu_s": 0.03, "peak_bytes": 9437184, "killed": false}

A single byte from the caller ends the command early. The keeper ends when the caller does, because the control socket is closed
then.

The keeper is the first process of its namespace, so nothing that the command starts can outlive it: the kernel ends such processes
along with the keeper. On Linux without namespaces, the keeper adopts the orphans of the command and ends them itself. On macOS it
ends the command's process group, which a process can leave (see ``_end_all``). It runs no code of the command, and uses nothing
that the command says except its exit status.

The keeper imports everything before it enters the namespaces, because its interpreter's files may be out of reach there.
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
from typing import Any, NoReturn, TypedDict

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
"""The descriptor of the control socket. The descriptors from 0 to 2 are the command's."""
CHANNEL = 11
"""The descriptor that becomes the command's standard input, if the caller wants to talk with the command."""
_GIVEN_CHANNEL = 3
"""The descriptor at which the keeper gets this channel."""
_MAX_FDS = 1 << 16
MAX_OPEN_FILES = 1024
"""The maximum number of files that a process of the command may have open."""
KERNEL_ROOM = 2
"""The bound that the kernel sets on the number of processes, as a multiple of the command's limit.

The caller ends a command in which it sees more processes than the limit. The bound of the kernel holds until then.
"""
_READ_BYTES = 1 << 16


class KernelLimits(TypedDict):
    """The limits of a command that the kernel enforces."""

    cpu_s: int
    """Processor seconds of each process."""
    memory_bytes: int
    """Bytes that each process may map for itself."""
    disk_bytes: int
    """The maximum size of a file."""
    processes: int
    """The number of processes and threads, if the kernel can count those of the command alone."""


class Settings(TypedDict):
    """What the caller tells the keeper about the command (see ``outcome.Command``)."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    """The working folder, as the command sees it."""
    reach: dict[str, Any]
    """The fields of a ``Reach``."""
    limits: KernelLimits
    without: list[str]
    """Names of confinement layers to leave out, for tests."""
    required: list[str]
    """Names of layers that must be in force."""
    channel: bool
    """Whether the keeper's descriptor 3 becomes the command's standard input."""


class Started(TypedDict):
    """What the keeper tells the caller once the command runs, or has failed to start."""

    error: str
    """Why the command was not started, or an empty string."""
    layers: list[str]
    """The names of the confinement layers in force."""
    details: dict[str, str]
    """A line of detail on each layer."""


class Done(TypedDict):
    """What the keeper tells the caller once the command and everything that it started have ended."""

    status: int
    """The status as ``os.waitpid`` returns it."""
    cpu_s: float
    """Processor seconds of all these processes."""
    peak_bytes: int
    """The highest memory use, in bytes, of any one of them."""
    killed: bool
    """Whether the caller had the command ended."""


def main() -> NoReturn:
    """Read the settings from descriptor 0, the control socket; start the command; stay until it has ended.

    The command gets this process's descriptors 1 and 2, and 3 as its standard input if the settings say that it is a channel.
    """
    os.setsid()
    os.dup2(0, CONTROL, inheritable=False)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.closerange(CONTROL + 1, _MAX_FDS)
    control = socket.socket(fileno=CONTROL)
    try:
        settings = _settings(control)
        if settings["channel"]:
            os.dup2(_GIVEN_CHANNEL, CHANNEL, inheritable=False)
        os.closerange(3, CONTROL)
        _Keeper(control, settings).serve()
    except Exception as error:
        _say(control, Started(error=f"{type(error).__name__}: {error}", layers=[], details={}))
        os._exit(1)


def _settings(control: socket.socket) -> Settings:
    """Receive the settings, or end this process if the caller is gone."""
    data = b""
    while not data.endswith(b"\n"):
        more = control.recv(_READ_BYTES)
        if not more:
            os._exit(0)
        data += more
    settings: Settings = json.loads(data)
    return settings


def _say(control: socket.socket, message: Started | Done) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


class _Keeper:
    """The process that starts the command of the settings, and stays with it until it ends."""

    def __init__(self, control: socket.socket, settings: Settings) -> None:
        self._control = control
        self._settings = settings
        self._command = 0  # the number of the command's process
        processes, without = KERNEL_ROOM * settings["limits"]["processes"], frozenset(settings["without"])
        self._confinement: CommandConfinement = command_confinement(_reach(settings), processes, without)

    def serve(self) -> NoReturn:
        """Start the command, tell the caller, wait until the command has ended, and tell the caller how."""
        self._confinement.separate()
        alone = os.getpid() == 1  # in a namespace of its own, where it sees no processes but the command's
        _adopt_orphans()
        wakeup = _wake_on_children()
        report = self._start()
        if report["error"]:
            raise RuntimeError(report["error"])
        _say(self._control, report)
        _release_descriptors(channel=self._settings["channel"])
        status, killed = self._wait(wakeup)
        _end_all(alone, self._command)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        maxrss_bytes = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
        cpu_s, peak_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * maxrss_bytes
        _say(self._control, Done(status=status, cpu_s=cpu_s, peak_bytes=peak_bytes, killed=killed))
        os._exit(0)

    def _start(self) -> Started:
        """Fork a process that becomes the command, and return what it reported before it did."""
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
        while more := os.read(reading, _READ_BYTES):
            data += more
        os.close(reading)
        lines = data.splitlines()
        if not lines:
            return Started(error="the command's process ended before it reported", layers=[], details={})
        # If the command could not be executed, a second report with the error follows the first.
        report: Started = json.loads(lines[-1])
        return report

    def _wait(self, wakeup: int) -> tuple[int, bool]:
        """Wait until the command has ended, and end it if the caller asks for that.

        Return the status of the command, and whether the caller asked for its end. If the caller is gone, end everything, this
        process included.
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
                    _end_all(os.getpid() == 1, self._command)
                    os._exit(0)
                _kill(self._command)

    def _reaped(self) -> int | None:
        """Reap every process that has ended, and return the status of the command if it is among them."""
        command_status = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return command_status
            if not pid:
                return command_status
            if pid == self._command:
                command_status = status


def _reach(settings: Settings) -> Reach:
    """Return the reach of the command, made from the plain dictionaries into which JSON has turned it and its parts."""
    fields = dict(settings["reach"])
    fields["layout"] = Layout(**fields["layout"])
    fields["writable"] = tuple(Writable(**folder) for folder in fields["writable"])
    return Reach(**fields)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def _wake_on_children() -> int:
    """Return a descriptor that can be read as soon as a child has ended.

    SIGCHLD is the only signal that the keeper handles. The kernel keeps all others from the first process of a namespace if they
    are sent from inside it, so that the command cannot end its keeper.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python itself would handle this one
    signal.signal(signal.SIGCHLD, lambda *_: None)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _release_descriptors(*, channel: bool) -> None:
    """Close this process's copies of the command's outputs and channel.

    Whoever reads them then gets the end of the file once every process of the command is gone.
    """
    for fd in (1, 2):
        os.dup2(0, fd)
    if channel:
        os.close(CHANNEL)


def _become(settings: Settings, confinement: CommandConfinement, report_fd: int) -> NoReturn:
    """Confine this process and become the command. Before that, write a ``Started`` as a line of JSON to ``report_fd``."""

    def report(error: str) -> None:
        started = Started(error=error, layers=list(confinement.layers), details=confinement.details)
        os.write(report_fd, json.dumps(started).encode() + b"\n")

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
            report("it has less confinement than was probed, without " + ", ".join(missing))
            os._exit(127)
        command = confinement.command(argv)
        if settings["channel"]:
            os.dup2(CHANNEL, 0)
        report("")
        os.execve(command[0], command, environment)
    except (OSError, ValueError) as error:
        report(f"{type(error).__name__}: {error}")
        os._exit(127)


def _reset_signals() -> None:
    """Give the signals that Python changed their default effect, and have this process killed when the keeper ends."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _fix_addresses() -> None:
    """Have the command loaded at the same addresses in each run, where the kernel allows it.

    Up to Python 3.11, None is hashed by its address, so without this the order of a set that holds None, and of test names made
    from it, changes from run to run.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            call("personality", ADDR_NO_RANDOMIZE)


def _set_limits(limits: KernelLimits, *, count_processes: bool) -> None:
    """Set the limits of this process and of each process that it starts.

    ``count_processes`` says that the kernel counts the processes of the command alone, so that their number can be limited here.
    """
    wanted = {
        # The hard limit is one second later, for programs that ignore the signal of the soft one.
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
    """Set a limit, or keep to the hard limit that this process has if that is lower."""
    highest = resource.getrlimit(which)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(which, (soft, hard))


def _end_all(alone: bool, command: int) -> None:
    """End and reap everything that the command has started. ``command`` is the number of its first process.

    ``alone`` says that this process is the first of its namespace. If it is not, and there is no /proc that lists the processes
    below it, the process group of the command is ended. This means macOS, where a process that has left this group stays until it
    ends by itself. The kernel's limits, such as that on processor time, still hold for it.
    """
    if not alone and not os.path.isdir("/proc/self"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(command, signal.SIGKILL)
        return
    # In a namespace, -1 stands for every process but this one. New ones may appear while the others are being killed.
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
    """Return the numbers of all processes below this one, as /proc lists them."""
    descendants, unvisited = [], [os.getpid()]
    while unvisited:
        pid = unvisited.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            children = [
                int(word) for tid in threads for word in Path(f"/proc/{pid}/task/{tid}/children").read_text().split()
            ]
        except OSError:  # the process has ended
            continue
        descendants += children
        unvisited += children
    return descendants


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
