"""Run one confined command: start its keeper, read its output, enforce its limits, and return how it ended."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.processes.family import Family
from mlx_selfdebug.sandbox.processes.growth import Growth
from mlx_selfdebug.sandbox.processes.launch import ENVIRONMENT, keeper_command, spawn
from mlx_selfdebug.sandbox.processes.outcome import Command, Ending, Outcome, Tail

if TYPE_CHECKING:
    from mlx_selfdebug.sandbox.processes.keeper import Done, KernelLimits, Settings, Started

START_S = 60.0
"""Seconds that the keeper may take to start the command."""
EXIT_S = 20.0
"""Seconds that the keeper may take to end everything that the command has started."""
LOOK_S = 0.02
"""Seconds between two looks at the processes. If a look takes long, the next one comes later."""
DISK_LOOK_S = 0.25
"""Seconds between two looks at the writable folders."""
_MAX_LOOKING_SHARE = 0.1
"""The maximum share of its time that the caller spends on looking."""
_READ_BYTES = 1 << 16


def run(command: Command, stop: threading.Event | None = None) -> Outcome:
    """Run the command to its end and return its outcome. If ``stop`` is set, the command is ended soon after.

    Raises SandboxError if the command cannot be started with the confinement that it requires, or if its keeper is lost.
    """
    with _Running(command, stop or threading.Event()) as running:
        return running.wait()


class _Running:
    """A running command, as a context manager. At the end of the block, everything that the command has started is gone."""

    def __init__(self, command: Command, stop: threading.Event) -> None:
        self._command = command
        self._stop = stop
        self._limits = command.limits
        self._outputs: dict[int, Tail] = {}
        self._pid = 0  # the number of the keeper
        self._received = b""  # what the keeper has sent of its next line
        self._peak_bytes = 0
        self._cpu_s = 0.0
        self._limit: tuple[Ending, str] | None = None  # the first limit that was exceeded, and how

    def __enter__(self) -> _Running:
        self._control, theirs = socket.socketpair()
        pipes = [os.pipe() for _ in range(2)]
        self._outputs = {reading: Tail(self._limits.tail_bytes) for reading, _ in pipes}
        self._stdout, self._stderr = self._outputs.values()
        try:
            words = keeper_command(self._command.reach, in_bubblewrap=self._command.bubblewrap)
            channel = [] if self._command.channel is None else [self._command.channel]
            descriptors = (theirs.fileno(), *(writing for _, writing in pipes), *channel)
            self._pid = spawn(words, ENVIRONMENT, descriptors)
        except OSError as error:
            self._close()
            raise SandboxError(f"the confined command {self._command.argv[0]} cannot be started: {error}") from error
        finally:
            theirs.close()
            for _, writing in pipes:
                os.close(writing)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._close()

    def wait(self) -> Outcome:
        """Wait until the command has ended, and end it when it exceeds a limit."""
        layers, details = self._begin()
        begin = time.monotonic()
        self._family = Family(self._pid, _generations(layers, self._command.bubblewrap))
        done = self._watch(begin)
        wall_s = time.monotonic() - begin
        self._drain()
        cpu_s = max(done["cpu_s"], self._cpu_s)
        ending, reason = self._ending(done["status"], cpu_s, done["killed"])
        return Outcome(
            ending=ending,
            status=os.waitstatus_to_exitcode(done["status"]),
            reason=reason,
            stdout=self._stdout,
            stderr=self._stderr,
            wall_s=wall_s,
            cpu_s=cpu_s,
            peak_bytes=max(done["peak_bytes"], self._peak_bytes),
            layers=details,
            in_force=frozenset(layers),
        )

    def _begin(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Have the keeper start the command, and return the confinement layers in force and a line of detail on each layer."""
        command = self._command
        settings: Settings = {
            "argv": list(command.argv),
            "environment": dict(command.environment),
            "folder": command.folder,
            "reach": asdict(command.reach),
            "limits": _kernel_limits(command.limits),
            "without": sorted(command.without),
            "required": sorted(command.required),
            "channel": command.channel is not None,
        }
        with suppress(OSError):  # if the keeper is gone, nothing is received below
            self._control.sendall(json.dumps(settings).encode() + b"\n")
        started: Started | None = self._receive(START_S)
        if started is None:
            self._drain(1.0)
            lines = self._stderr.text().strip().splitlines() or ["no message"]
            raise SandboxError(f"the process that keeps a confined command ended before it was ready: {lines[-1]}")
        if started["error"]:
            raise SandboxError(f"the confined command {command.argv[0]} was not started: {started['error']}")
        layers, details = tuple(started["layers"]), dict(started["details"])
        if command.bubblewrap:
            return (*layers, "bubblewrap"), details | {
                "bubblewrap": "mounts, processes, network, IPC, host name, users"
            }
        return layers, details

    def _receive(self, timeout_s: float) -> Any:
        """Return the next message of the keeper, or None if the keeper is gone or sends none in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            more = self._control.recv(_READ_BYTES) if _readable([self._control.fileno()], deadline) else b""
            if not more:
                return None
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def _watch(self, begin: float) -> Done:
        """Read the outputs and watch what the command uses, until it ends or is ended because it exceeds a limit."""
        growth = Growth([writable.folder for writable in self._command.reach.writable], self._limits.files)
        poll = select.poll()
        for fd in (self._control.fileno(), *self._outputs):
            poll.register(fd, select.POLLIN)
        deadline = begin + self._limits.wall_s
        next_look, next_disk_look = begin, begin + DISK_LOOK_S
        while True:
            due = min(next_look, next_disk_look, deadline)
            ready = [fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)]
            for fd in set(ready).intersection(self._outputs):
                if not self._read(fd):
                    poll.unregister(fd)
            if self._control.fileno() in ready:
                return self._receive_done()
            now = time.monotonic()
            if now >= next_look:
                self._look()
                next_look = _next(now, LOOK_S)
            if now >= next_disk_look:
                if reason := growth.excess(self._limits.disk_bytes):
                    self._exceed("disk", reason)
                next_disk_look = _next(now, DISK_LOOK_S)
            if now >= deadline:
                self._exceed("timed_out", f"more than {self._limits.wall_s:g} s")
            if self._stop.is_set():
                self._exceed("killed", "ended by its caller")
            if self._limit:
                with suppress(OSError):  # the keeper may have ended in the meantime
                    self._control.sendall(b"e")  # any byte asks the keeper to end the command
                return self._receive_done()

    def _look(self) -> None:
        """Measure what the processes of the command use, and note a limit that they exceed."""
        load = self._family.look(self._limits.processes, self._limits.memory_bytes)
        self._peak_bytes = max(self._peak_bytes, load.memory_bytes)
        self._cpu_s = max(self._cpu_s, load.cpu_s)
        if load.processes > self._limits.processes:
            self._exceed("processes", f"more than {self._limits.processes} processes and threads")
        if load.memory_bytes > self._limits.memory_bytes:
            self._exceed("memory", f"more than {self._limits.memory_bytes} bytes of memory")
        if load.cpu_s > self._limits.cpu_s:
            self._exceed("timed_out", f"more than {self._limits.cpu_s:g} processor seconds")

    def _read(self, fd: int) -> bool:
        """Read what an output holds, and return whether it is still open."""
        data = os.read(fd, _READ_BYTES)
        self._outputs[fd].add(data)
        if sum(tail.n_bytes for tail in self._outputs.values()) > self._limits.output_bytes:
            self._exceed("output", f"more than {self._limits.output_bytes} bytes of output")
        return bool(data)

    def _exceed(self, ending: Ending, reason: str) -> None:
        """Note why the command has to end, unless there is such a reason already."""
        self._limit = self._limit or (ending, reason)

    def _receive_done(self) -> Done:
        """Return the keeper's message that everything has ended. Raises SandboxError if the keeper was lost."""
        done: Done | None = self._receive(EXIT_S)
        if done is not None:
            return done
        if self._limit:  # what the command started keeps the machine too busy, until _end has the keeper killed
            return {"status": signal.SIGKILL, "cpu_s": 0.0, "peak_bytes": 0, "killed": True}
        raise SandboxError("the process that keeps a confined command was lost; it may have been killed from outside")

    def _drain(self, timeout_s: float = EXIT_S) -> None:
        """Read the rest of the outputs, which are closed once every process of the command is gone."""
        deadline = time.monotonic() + timeout_s
        open_fds = set(self._outputs)
        while open_fds and time.monotonic() < deadline:
            for fd in _readable(open_fds, deadline):
                data = os.read(fd, _READ_BYTES)
                self._outputs[fd].add(data)
                if not data:
                    open_fds.discard(fd)

    def _ending(self, status: int, cpu_s: float, killed: bool) -> tuple[Ending, str]:
        """Return how the command ended and why. ``killed`` says that the keeper ended it.

        If the command ended by itself just when its time was over, it was in time.
        """
        if self._limit and (killed or self._limit[0] != "timed_out"):
            return self._limit
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if number == signal.SIGSYS:
            return "policy", "a system call that the sandbox forbids"
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= self._limits.cpu_s):
            return "timed_out", f"more than {self._limits.cpu_s:g} processor seconds"
        return ("killed", f"signal {number}") if number else ("exited", "")

    def _end(self) -> None:
        """End the keeper, and with it everything that the command has started."""
        self._control.close()
        deadline = time.monotonic() + EXIT_S
        while self._pid and time.monotonic() < deadline:
            if self._reaped():
                return
            time.sleep(0.002)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _reaped(self) -> bool:
        """Return whether the keeper has ended and been waited for."""
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # another part of this program has already waited for this process
            return True

    def _close(self) -> None:
        self._control.close()
        for fd in self._outputs:
            os.close(fd)


def _generations(layers: Sequence[str], bubblewrap: bool) -> int:
    """Return the number of processes that come before the command: the keeper, and those that made its namespaces."""
    if bubblewrap:
        return 3
    return 2 if "namespaces" in layers else 1


def _readable(fds: Iterable[int], deadline: float) -> list[int]:
    """Wait until some of the descriptors can be read or are closed, and return these, or an empty list at the deadline."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]


def _next(begin: float, interval_s: float) -> float:
    """Return the time of the next look after one that began at ``begin`` and has just ended."""
    now = time.monotonic()
    return now + max(interval_s, (now - begin) / _MAX_LOOKING_SHARE)


def _kernel_limits(limits: CommandLimits) -> KernelLimits:
    return {
        "cpu_s": max(1, math.ceil(limits.cpu_s)),
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "processes": limits.processes,
    }
