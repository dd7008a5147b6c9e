"""Run one confined command: start its keeper, read its output, watch over its limits, and return how it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.processes.family import Family
from mlx_selfdebug.sandbox.processes.growth import Growth
from mlx_selfdebug.sandbox.processes.launch import ENVIRONMENT, keeper_command, spawn
from mlx_selfdebug.sandbox.processes.outcome import Command, Ending, Outcome, Tail

START_S = 60.0
EXIT_S = 20.0
LOOK_S = 0.02
"""Seconds between two looks at the processes. If a look takes long, the next one comes later."""
DISK_LOOK_S = 0.25
_SHARE = 0.1
"""The largest share of its time that the caller spends on looking."""


def run(command: Command, stop: threading.Event | None = None) -> Outcome:
    """Run the command and return what became of it. It is ended as soon as ``stop`` is set.

    Raises SandboxError if the command could not be run as it should be.
    """
    with _Running(command, stop or threading.Event()) as running:
        return running.wait()


class _Running:
    """A command that runs. Everything that it has started is gone when the block ends, however it ends."""

    def __init__(self, command: Command, stop: threading.Event) -> None:
        self._command = command
        self._stop = stop
        self._limits = command.limits
        self._outputs: dict[int, Tail] = {}
        self._pid = 0
        self._said = b""
        self._peak_bytes = 0
        self._cpu_s = 0.0
        self._limit: tuple[Ending, str] | None = None

    def __enter__(self) -> _Running:
        self._control, theirs = socket.socketpair()
        pipes = [os.pipe() for _ in range(2)]
        self._outputs = {reading: Tail(self._limits.tail_bytes) for reading, _ in pipes}
        self._stdout, self._stderr = self._outputs.values()
        try:
            words = keeper_command(self._command.reach, in_bubblewrap=self._command.bubblewrap)
            channel = [] if self._command.channel is None else [self._command.channel]
            given = (theirs.fileno(), *(writing for _, writing in pipes), *channel)
            self._pid = spawn(words, ENVIRONMENT, given)
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
        layers, details = self._greet()
        begin = time.monotonic()
        self._family = Family(self._pid, _generations(layers, self._command.bubblewrap))
        status, cpu_s, peak_bytes, killed = self._watch(begin)
        wall_s = time.monotonic() - begin
        self._drain()
        cpu_s = max(cpu_s, self._cpu_s)
        ending, reason = self._ending(status, cpu_s, killed)
        return Outcome(
            ending,
            os.waitstatus_to_exitcode(status),
            reason,
            self._stdout,
            self._stderr,
            wall_s,
            cpu_s,
            max(peak_bytes, self._peak_bytes),
            details,
            frozenset(layers),
        )

    def _greet(self) -> tuple[tuple[str, ...], dict[str, str]]:
        command = self._command
        settings = {
            "argv": command.argv,
            "environment": dict(command.environment),
            "folder": command.folder,
            "reach": asdict(command.reach),
            "limits": _kernel_limits(command.limits),
            "without": tuple(sorted(command.without)),
            "required": tuple(sorted(command.required)),
            "channel": command.channel is not None,
        }
        with suppress(OSError):  # if the keeper is gone, it says nothing either
            self._control.sendall(json.dumps(settings).encode() + b"\n")
        started = self._receive(START_S)
        if started is None:
            self._drain(1.0)
            said = self._stderr.text().strip().splitlines() or ["no message"]
            raise SandboxError(f"the process that keeps a confined command ended before it was ready: {said[-1]}")
        if started["error"]:
            raise SandboxError(f"the confined command {command.argv[0]} was not started: {started['error']}")
        layers, details = tuple(started["layers"]), dict(started["details"])
        if command.bubblewrap:
            return (*layers, "bubblewrap"), details | {
                "bubblewrap": "mounts, processes, network, IPC, host name, users"
            }
        return layers, details

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next line of the keeper, or None if it is gone or says nothing in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._said:
            more = self._control.recv(1 << 16) if _readable([self._control.fileno()], deadline) else b""
            if not more:
                return None
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return dict(json.loads(line))

    def _watch(self, begin: float) -> tuple[int, float, int, bool]:
        """Return the command's wait status, processor seconds, peak memory and whether it was ended."""
        growth = Growth([each.folder for each in self._command.reach.writable], self._limits.files)
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
                with suppress(OSError):
                    self._control.sendall(b"e")
                return self._receive_done()

    def _look(self) -> None:
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
        """Read what is there, and return whether the output is still open."""
        data = os.read(fd, 1 << 16)
        self._outputs[fd].add(data)
        if sum(tail.n_bytes for tail in self._outputs.values()) > self._limits.output_bytes:
            self._exceed("output", f"more than {self._limits.output_bytes} bytes of output")
        return bool(data)

    def _exceed(self, ending: Ending, reason: str) -> None:
        self._limit = self._limit or (ending, reason)

    def _receive_done(self) -> tuple[int, float, int, bool]:
        done = self._receive(EXIT_S)
        if done is not None:
            return done["status"], done["cpu_s"], done["peak_bytes"], done["killed"]
        if self._limit:  # the machine is too busy with what is to be ended, which _end does
            return signal.SIGKILL, 0.0, 0, True
        raise SandboxError("the process that keeps a confined command was lost; it may have been killed from outside")

    def _drain(self, timeout_s: float = EXIT_S) -> None:
        """Read the rest of the outputs, which are closed once every process of the command is gone."""
        deadline = time.monotonic() + timeout_s
        waiting = set(self._outputs)
        while waiting and time.monotonic() < deadline:
            for fd in _readable(waiting, deadline):
                data = os.read(fd, 1 << 16)
                self._outputs[fd].add(data)
                if not data:
                    waiting.discard(fd)

    def _ending(self, status: int, cpu_s: float, killed: bool) -> tuple[Ending, str]:
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
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # another part of this program has already waited for this process
            return True

    def _close(self) -> None:
        self._control.close()
        for fd in self._outputs:
            os.close(fd)


def _generations(layers: Sequence[str], bubblewrap: bool) -> int:
    """Return the number of processes that come before the command: the keeper, and what made its namespaces."""
    return 3 if bubblewrap else 2 if "namespaces" in layers else 1


def _readable(fds: Iterable[int], deadline: float) -> list[int]:
    """Return those descriptors that can be read or are closed, as soon as there is one, or none at the deadline."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]


def _next(begin: float, interval_s: float) -> float:
    """Return the time of the next look after one that began at ``begin`` and has just ended."""
    now = time.monotonic()
    return now + max(interval_s, (now - begin) / _SHARE)


def _kernel_limits(limits: CommandLimits) -> dict[str, int]:
    return {
        "cpu_s": max(1, -int(-limits.cpu_s // 1)),
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "processes": limits.processes,
    }
