"""Run the zygote: a clean interpreter that confines itself once, and then forks the processes of each run.

    runner --orders--> zygote --fork--> candidate   one per run: runs the program, answers calls
       \\                      --fork--> grader      runs the checks, calls the candidate
        `------- link --------------------'

The zygote never sees a program or a check. The grader reads them from its link to the runner, whose descriptor the zygote only
passes on. So the memory of what it forks contains nothing of earlier runs. It alone ends the processes that it forked, and it
reports how they ended.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch
from mlx_selfdebug.sandbox.confinement.system import ChildConfinement, confine_zygote, footprint_of_this_system
from mlx_selfdebug.sandbox.processes import candidate, grader
from mlx_selfdebug.sandbox.processes.candidate import Answers
from mlx_selfdebug.sandbox.processes.watching import wait_readable
from mlx_selfdebug.sandbox.wire import codec, messages
from mlx_selfdebug.sandbox.wire.channel import Channel
from mlx_selfdebug.sandbox.wire.messages import ORDER_BYTES, ChildLimits, Done, Order, frame

CONTROL = 3
"""The descriptor of the control socket, over which the orders of the runner arrive."""
FIRST_FD = 10
"""The lowest number that a descriptor made here can get, since all below it are in use. Children move theirs to 3 and on."""
_MAX_FDS = 1 << 16
START_S = 60.0
"""Seconds to wait for the settings."""
SEED = 0
"""The seed of ``random`` with which each program begins."""
CLOSED_GRACE_S = 1.0
"""Seconds that a candidate which closed its channel gets to end by itself."""
PRELOAD = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "random", "re",
    "statistics", "string", "struct", "textwrap", "threading", "time", "typing",
)  # fmt: skip
"""The modules that programs and checks import most. They are loaded once here instead of in each run."""

# Unlike CDLL, PyDLL does not release the interpreter's lock during a call, so the child of ``fork`` holds it.
_libc = ctypes.PyDLL(None, use_errno=True)


class Settings(TypedDict):
    """What the runner tells a new zygote (see ``launch.Setup``)."""

    layout: dict[str, Any]
    """The fields of the ``Layout``."""
    folder: str
    packages: tuple[str, ...]
    package_paths: tuple[str, ...]
    """The folders from which the packages are imported."""
    without: tuple[str, ...]
    limits: dict[str, int]
    """The fields of the ``ChildLimits``."""


def main() -> NoReturn:
    """Confine this process and obey the orders that arrive on descriptor 0, the control socket.

    The zygote ends when the other end of that socket is closed.
    """
    os.setsid()
    _keep_control_alone()
    control = socket.socket(fileno=CONTROL)
    settings: Settings = codec.decode(Channel(control).receive(1 << 20, START_S).body, 1 << 20)
    control.setblocking(True)
    try:
        zygote = _prepare(control, settings)
    except Exception as error:
        control.sendall(frame(messages.START_FAILED, 0, f"{type(error).__name__}: {error}"))
        os._exit(1)
    zygote.serve()


def _keep_control_alone() -> None:
    """Keep only the control socket and standard error. All other numbers below FIRST_FD become the null device."""
    os.dup2(0, CONTROL, inheritable=False)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.closerange(CONTROL + 1, _MAX_FDS)
    for fd in range(CONTROL + 1, FIRST_FD):
        os.dup2(0, fd, inheritable=False)


def _prepare(control: socket.socket, settings: Settings) -> Zygote:
    """Load everything, confine this process, tell the runner, and return the zygote."""
    os.chdir(settings["folder"])
    answers = _preload(settings["packages"], settings["package_paths"])
    map_bytes = _map_bytes()
    layout, without = Layout(**settings["layout"]), frozenset(settings["without"])
    confinement = confine_zygote(layout, tuple(range(FIRST_FD)), without)
    limits = ChildLimits(**settings["limits"])
    gc.collect()
    gc.disable()
    gc.freeze()  # a garbage collection in a child would otherwise touch, and so copy, all memory pages
    control.sendall(frame(messages.STARTED, 0, (confinement.layers, dict(confinement.details))))
    os.dup2(0, 2)
    return Zygote(control, answers, confinement, limits, map_bytes)


def _preload(packages: tuple[str, ...], package_paths: tuple[str, ...]) -> Answers:
    """Import what programs and checks may import, and return the module that answers requests in a candidate."""
    for name in PRELOAD:
        importlib.import_module(name)
    sys.path.extend(package_paths)
    for name in packages:
        importlib.import_module(name)
    del sys.path[len(sys.path) - len(package_paths) :]
    random.seed(SEED)  # every child starts from this state, so that verdicts are reproducible
    answers = candidate.load_private_modules()
    answers.warm_up()
    return answers


def _map_bytes() -> int:
    """Return the bytes that this process maps, on top of which its children get their memory, or 0 where /proc does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


@dataclass(frozen=True)
class _Spare:
    """A candidate's process that was forked ahead of its run and waits for its program."""

    pid: int
    channel: int
    """The descriptor of the grader's end of its channel."""


_NO_SPARE = _Spare(0, -1)


class Zygote:
    """A process that obeys the runner's orders, one run at a time."""

    def __init__(
        self,
        control: socket.socket,
        answers: Answers,
        confinement: ChildConfinement,
        limits: ChildLimits,
        map_bytes: int,
    ) -> None:
        self._control = control
        self._answers = answers
        self._confinement = confinement
        self._limits = limits
        # 0 means no limit, for systems on which the size of the map is not known.
        self._candidate_address_space = map_bytes and map_bytes + limits.memory_bytes
        self._grader_address_space = map_bytes and map_bytes + limits.grader_memory_bytes
        self._alone = os.getpid() == 1  # in a namespace of its own, where it sees no processes but its own
        self._no_forks = "seccomp" in confinement.layers  # whether its children cannot start processes
        self._measure = footprint_of_this_system(confinement)  # None where the kernel enforces the memory limit
        self._watch = MemoryWatch(self._measure(os.getpid()) if self._measure else 0)
        self._spare = _NO_SPARE
        self._candidate = 0  # the numbers of the processes of the current run, or 0
        self._grader = 0
        self._feed = -1  # the descriptor over which the grader gets its candidates

    def serve(self) -> NoReturn:
        """Obey orders until the control socket is closed."""
        while True:
            order, link = self._next_order()
            if order.kind == messages.GRADER:
                self._start_grader(link)
            elif order.kind == messages.RUN:
                self._start_candidate()
            else:
                done = self._end(order)
                self._control.sendall(frame(messages.DONE, order.run, astuple(done)))
                self._spare = self._forked_candidate()

    def _next_order(self) -> tuple[Order, int]:
        """Return the next order, and the descriptor that came with it or -1. If the runner is gone, end this process."""
        data, fds = b"", [-1]
        while len(data) < ORDER_BYTES:
            if self._measure and wait_readable(self._control.fileno(), self._watch, self._measure):
                # A memory limit cannot be enforced, which is a failure of the machine. The runner sees such a failure in the death
                # of the grader.
                _kill(self._grader)
            more, received, _, _ = socket.recv_fds(self._control, ORDER_BYTES - len(data), 1)
            if not more:
                self._end_all()
            data, fds = data + more, [*received, *fds]
        return Order.unpack(data), fds[0]

    def _start_grader(self, link: int) -> None:
        self._end_grader()
        ours, theirs = _socket_pair()
        self._grader = _fork(lambda: grader.main(link, theirs, self._grader_address_space, self._confinement))
        self._feed = ours
        os.close(link)
        os.close(theirs)

    def _start_candidate(self) -> None:
        """Hand the spare candidate to the grader.

        It was forked at the end of the last run, while the runner was busy, so the run need not wait for the fork.
        """
        if not self._spare.pid:
            self._spare = self._forked_candidate()
        self._candidate, channel = self._spare.pid, self._spare.channel
        self._spare = _NO_SPARE
        if self._measure:
            self._watch.add(self._candidate, self._limits.memory_bytes)
        try:
            with socket.socket(fileno=os.dup(self._feed)) as feed:
                socket.send_fds(feed, [b"c"], [channel])
        except OSError:  # the grader is dead, which the runner notices on the link
            pass
        os.close(channel)

    def _forked_candidate(self) -> _Spare:
        """Fork a candidate's process that waits for its program, and return it."""
        ours, theirs = _socket_pair()
        limits = self._limits
        pid = _fork(
            lambda: candidate.main(
                self._answers,
                theirs,
                limits.cpu_s,
                self._candidate_address_space,
                limits.output_bytes,
                self._confinement,
            )
        )
        os.close(theirs)
        return _Spare(pid, ours)

    def _end(self, order: Order) -> Done:
        """End the candidate of a run, and the grader if so ordered, and return how they ended."""
        ending = self._end_candidate(CLOSED_GRACE_S if order.grace else 0.0)
        # A candidate can leave processes behind only if no filter forbids forking. In a namespace of its own, the zygote becomes
        # their parent and can end everything in it, the grader included.
        may_have_orphans = self._alone and not self._no_forks
        if may_have_orphans:
            _kill(-1)
        grader_ends = order.kind == messages.END_GRADER or may_have_orphans
        status = self._end_grader() if grader_ends else None
        if may_have_orphans:
            _reap_all()
        return Done(order.run, *ending, status)

    def _end_grader(self) -> int | None:
        """End the grader and return its status, or None if there was no grader."""
        if not self._grader:
            return None
        _kill(self._grader)
        _, status = os.waitpid(self._grader, 0)
        self._grader = 0
        os.close(self._feed)
        return status

    def _end_candidate(self, grace_s: float) -> tuple[int, float, int, bool]:
        """End the candidate if it has not ended by itself within ``grace_s``.

        Return its status, its processor seconds, its peak memory in bytes, and whether it was still alive after that time.
        """
        pid, self._candidate = self._candidate, 0
        deadline = time.monotonic() + grace_s
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
        # This ends the processes of its group, which it may have started. If the candidate has been reaped, its number may be
        # that of the group alone, which keeps the number from being given to another process.
        _kill(-pid)
        if not ended:
            _kill(pid)
            _, status, usage = os.wait4(pid, 0)
        maxrss_bytes = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
        peak_bytes = max(usage.ru_maxrss * maxrss_bytes, self._watch.remove(pid))
        return status, usage.ru_utime + usage.ru_stime, peak_bytes, not ended

    def _end_all(self) -> NoReturn:
        """End this process and those that it forked."""
        for pid in (self._candidate, self._grader, self._spare.pid):
            if pid:
                _kill(-pid)
                _kill(pid)
        os._exit(0)


def _socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _fork(child: Callable[[], NoReturn]) -> int:
    """Fork a process that runs ``child``, and return its number. Raises OSError if that fails.

    In a child, os.fork would repair the state of threads, which the zygote does not have, and copy a megabyte of memory pages by
    that. So the function of the C library is called directly.
    """
    pid: int = _libc.fork()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "fork")
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    return pid


def _reap_all() -> None:
    """Wait until no child is left."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _kill(pid: int) -> None:
    """Kill a process, or the group that a negative number names, or with -1 every other process. None need exist."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
