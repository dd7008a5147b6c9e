"""Run the zygote: a clean interpreter that confines itself once and forks the processes of each run.

    runner --orders--> zygote --fork--> candidate   one per run: runs the program, answers calls
       \\                      --fork--> grader      runs the checks, calls the candidate
        `------- link --------------------'

The zygote never sees a program or a check: the grader reads them from a link that only passes through here. So the memory of what
it forks contains nothing of them. Its children are its own: it alone ends them, and it reports how they ended.
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
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.memory_watch import MemoryWatch
from mlx_selfdebug.sandbox.confinement.system import ChildConfinement, confine_zygote, footprint_of_this_system
from mlx_selfdebug.sandbox.processes import candidate, grader
from mlx_selfdebug.sandbox.processes.watching import wait_readable
from mlx_selfdebug.sandbox.wire import codec, messages
from mlx_selfdebug.sandbox.wire.channel import Channel
from mlx_selfdebug.sandbox.wire.messages import ORDER_BYTES, ChildLimits, Done, Order, frame

CONTROL = 3
FIRST_FD = 10
"""The lowest number of the descriptors that children will renumber from 3 on."""
START_S = 60.0
SEED = 0
CLOSED_GRACE_S = 1.0
"""Seconds that a candidate which closed its channel gets to end by itself."""
PRELOAD = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "random", "re",
    "statistics", "string", "struct", "textwrap", "threading", "time", "typing",
)  # fmt: skip
"""The modules that programs and checks import most. They are loaded once here instead of in each run."""

_libc = ctypes.PyDLL(None, use_errno=True)


def main() -> NoReturn:
    """Confine this process and obey the orders that arrive on descriptor 0, the control socket.

    The zygote ends when the other end of that socket is closed.
    """
    os.setsid()
    _keep_control_alone()
    control = socket.socket(fileno=CONTROL)
    settings = codec.decode(Channel(control).receive(1 << 20, START_S).body, 1 << 20)
    control.setblocking(True)
    try:
        zygote = _prepared(control, settings)
    except Exception as error:
        control.sendall(frame(messages.START_FAILED, 0, f"{type(error).__name__}: {error}"))
        os._exit(1)
    zygote.serve()


def _keep_control_alone() -> None:
    os.dup2(0, CONTROL, inheritable=False)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.closerange(CONTROL + 1, 1 << 16)
    for fd in range(CONTROL + 1, FIRST_FD):
        os.dup2(0, fd, inheritable=False)


def _prepared(control: socket.socket, settings: dict[str, Any]) -> Zygote:
    """Load everything, confine this process, tell the runner so, and return the zygote."""
    os.chdir(settings["folder"])
    answers = _preload(settings["packages"], settings["package_paths"])
    map_bytes = _map_bytes()
    layout, without = Layout(**settings["layout"]), frozenset(settings["without"])
    confinement = confine_zygote(layout, tuple(range(FIRST_FD)), without)
    limits = ChildLimits(**settings["limits"])
    gc.collect()
    gc.disable()
    gc.freeze()  # otherwise a garbage collection in a child would copy all memory pages
    control.sendall(frame(messages.STARTED, 0, (confinement.layers, dict(confinement.details))))
    os.dup2(0, 2)
    return Zygote(control, answers, confinement, limits, map_bytes)


def _preload(packages: tuple[str, ...], package_paths: tuple[str, ...]) -> Any:
    for name in PRELOAD:
        importlib.import_module(name)
    sys.path.extend(package_paths)
    for name in packages:
        importlib.import_module(name)
    del sys.path[len(sys.path) - len(package_paths) :]
    random.seed(SEED)  # every child begins with this state, so that verdicts are reproducible
    answers = candidate.load_private_modules()
    answers.warm_up()
    return answers


def _map_bytes() -> int:
    """Return the bytes that this process maps, or 0 where the system does not say.

    The memory limits of its children are added to this.
    """
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


@dataclass(frozen=True)
class _Spare:
    """A candidate's process that waits for its program."""

    pid: int
    channel: int
    """The descriptor of the other end of its channel."""


_NO_SPARE = _Spare(0, -1)


class Zygote:
    """A process that obeys the runner's orders, one run at a time."""

    def __init__(
        self, control: socket.socket, answers: Any, confinement: ChildConfinement, limits: ChildLimits, map_bytes: int
    ) -> None:
        self._control = control
        self._answers = answers
        self._confinement = confinement
        self._limits = limits
        self._memory = map_bytes and map_bytes + limits.memory_bytes
        self._grader_memory = map_bytes and map_bytes + limits.grader_memory_bytes
        self._alone = os.getpid() == 1  # the first process of a namespace sees no processes but its own
        self._no_forks = "seccomp" in confinement.layers
        self._measure = footprint_of_this_system(confinement)
        self._watch = MemoryWatch(self._measure(os.getpid()) if self._measure else 0)
        self._spare = _NO_SPARE
        self._candidate = 0
        self._grader = 0
        self._feed = -1

    def serve(self) -> NoReturn:
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
        data, fds = b"", [-1]
        while len(data) < ORDER_BYTES:
            if self._measure and wait_readable(self._control.fileno(), self._watch, self._measure):
                # A memory limit that cannot be enforced is a failure of the machine. The runner treats it as one when the grader
                # dies.
                _kill(self._grader)
            more, received, _, _ = socket.recv_fds(self._control, ORDER_BYTES - len(data), 1)
            if not more:
                self._end_all()
            data, fds = data + more, [*received, *fds]
        return Order.unpack(data), fds[0]

    def _start_grader(self, link: int) -> None:
        self._end_grader()
        ours, theirs = _socket_pair()
        self._grader = _fork(lambda: grader.main(link, theirs, self._grader_memory, self._confinement))
        self._feed = ours
        os.close(link)
        os.close(theirs)

    def _start_candidate(self) -> None:
        """Hand the spare candidate to the grader.

        It was forked while the runner was still handling the run before, which saves the time of the fork.
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
        ours, theirs = _socket_pair()
        limits = self._limits
        pid = _fork(
            lambda: candidate.main(
                self._answers, theirs, limits.cpu_s, self._memory, limits.output_bytes, self._confinement
            )
        )
        os.close(theirs)
        return _Spare(pid, ours)

    def _end(self, order: Order) -> Done:
        ending = self._end_candidate(CLOSED_GRACE_S if order.grace else 0.0)
        if self._alone and not self._no_forks:
            _kill(-1)
        grader_goes = order.kind == messages.END_GRADER or (self._alone and not self._no_forks)
        status = self._end_grader() if grader_goes else None
        self._reap_orphans()
        return Done(order.run, *ending, status)

    def _reap_orphans(self) -> None:
        """Reap what a candidate left behind.

        There is such a process only if no filter forbids forking, and it is a child of this one only in a namespace of our own.
        """
        if self._alone and not self._no_forks:
            try:
                while True:
                    os.waitpid(-1, 0)
            except ChildProcessError:
                return

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
        """End the candidate after the time of grace.

        Return its status, its CPU seconds, its peak memory in bytes, and whether it was still alive at the end of that time.
        """
        pid, self._candidate = self._candidate, 0
        deadline = time.monotonic() + grace_s
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.002)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
        # This ends the processes of its group, which it may have started. Its number is either still taken, or it is left as the
        # number of that group alone.
        _kill(-pid)
        if not ended:
            _kill(pid)
            _, status, usage = os.wait4(pid, 0)
        unit = 1 if sys.platform == "darwin" else 1024
        peak_bytes = max(usage.ru_maxrss * unit, self._watch.remove(pid))
        return status, usage.ru_utime + usage.ru_stime, peak_bytes, not ended

    def _end_all(self) -> NoReturn:
        for pid in (self._candidate, self._grader, self._spare.pid):
            if pid:
                _kill(-pid)
                _kill(pid)
        os._exit(0)


def _socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _fork(child: Callable[[], NoReturn]) -> int:
    # This is not os.fork, because what os.fork does in the child is meant for programs with threads and would copy a megabyte of
    # memory pages in each child.
    pid: int = _libc.fork()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "fork")
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    return pid


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
