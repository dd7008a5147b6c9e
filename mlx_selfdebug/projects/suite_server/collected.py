"""Collect tests once and fork for each run of some of them, with the code of one function swapped.

To load a project anew for each try costs most of a try's time. Here, a process loads the project and collects the tests, then
waits. For each try it forks, and the child puts other code into the one function that a try changes, and runs the tests.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from .child import limit_processor_time, redirect_output, runner_of
from .reports import Reports
from .swapping import Functions

ANSWER_S = 10.0
"""Seconds in which the process that has collected the tests must have forked."""


OTHERS = 1
"""The answer to a request for tests that were not collected."""


class Collected:
    """The process that has collected some tests, as the server sees it."""

    def __init__(self, request: Mapping[str, Any], channel: int) -> None:
        self._socket, other = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(channel)
                self._socket.close()
                _collect(request, other)
            finally:
                os._exit(70)
        other.close()
        self._socket.settimeout(request["wall_s"])
        self.is_ready = self._answer() == 1 and hasattr(socket, "send_fds")
        self._socket.settimeout(ANSWER_S)

    def start(self, request: Mapping[str, Any], writing: int) -> int:
        """Have tests run in a new process that reports on ``writing``.

        Returns its number, or ``OTHERS`` if not all of the tests were collected. Raises OSError if the process that has collected
        tests is gone.
        """
        message = {name: request[name] for name in ("tests", "swap", "first_failure", "facts", "wall_s")}
        _send(self._socket, message, writing)
        pid = self._answer()
        if not pid:
            raise OSError("the process that collected the tests does not answer")
        return pid

    def reap(self, pid: int) -> None:
        """Take note that a process which was started here has been ended."""
        with suppress(OSError):
            _send(self._socket, {"reap": pid})
            self._answer()

    def end(self) -> None:
        """End the process. The runs that it has started are not ended."""
        self._socket.close()
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _answer(self) -> int:
        """Return the number that comes back, or 0 if none does."""
        try:
            return int(self._socket.recv(32))
        except (OSError, ValueError):
            return 0


def _send(connection: socket.socket, message: object, fd: int | None = None) -> None:
    data = json.dumps(message).encode() + b"\n"
    if fd is not None:
        # A descriptor travels with the first byte.
        socket.send_fds(connection, [data[:1]], [fd])
        data = data[1:]
    connection.sendall(data)


def _received(connection: socket.socket) -> tuple[Any, int | None]:
    """Return the next message of the server and the descriptor that came with it. Raises OSError at the end."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
    while data[-1:] != b"\n":
        more = connection.recv(1 << 16)
        if not more:
            raise OSError("the other side is gone")
        data += more
    return json.loads(data), fds[0] if fds else None


def _collect(request: Mapping[str, Any], connection: socket.socket) -> NoReturn:
    """Load the tests of a request, then serve runs of them until the connection ends."""
    os.setpgid(0, 0)
    redirect_output(kept=False)
    serving = _Serving(request, connection)
    runner_of(request["framework"])(request, serving)
    os._exit(0)


def _is_there(test: str, ids: Collection[str]) -> bool:
    """Return whether a test was collected, or some of those in a file or class."""
    return test in ids or any(id_.startswith(test + "::") for id_ in ids)


class _Serving(Reports):
    """The reports of the process that collects: between collecting and running, it serves."""

    def __init__(self, request: Mapping[str, Any], connection: socket.socket) -> None:
        super().__init__(-1, request)
        self._connection, self._tests = connection, request["tests"]
        self._functions = Functions()
        self._functions.watch()

    def collected(self, ids: Collection[str]) -> Collection[str]:
        """Fork for each run that is wanted. Returns, in the processes that run tests, which of the tests to run."""
        self._functions.stop_watching()
        # Other threads would be missing in the forked processes.
        is_ready = all(_is_there(test, ids) for test in self._tests) and threading.active_count() == 1
        _send(self._connection, int(is_ready))
        if not is_ready:
            os._exit(0)
        self._functions.find()
        there = set(ids)
        gc.collect()
        gc.freeze()
        while True:
            try:
                message, fd = _received(self._connection)
            except OSError:
                os._exit(0)
            if "reap" in message:
                with suppress(ChildProcessError):
                    os.waitpid(message["reap"], 0)
                _send(self._connection, 1)
                continue
            assert fd is not None
            are_known = there.issuperset(message["tests"]) and bool(message["tests"])
            pid = os.fork() if are_known else OTHERS
            if not pid:
                self._begin_run(message, fd)
                return set(message["tests"])
            os.close(fd)
            _send(self._connection, pid)

    def _begin_run(self, message: Mapping[str, Any], fd: int) -> None:
        os.setpgid(0, 0)
        self._connection.close()
        limit_processor_time(int(message["wall_s"]) + 2)
        self._fd, self.first_failure, self.with_facts = fd, message["first_failure"], message["facts"]
        if message["swap"] and not self._functions.swap(message["swap"]):
            self._tell({"unfit": True, "exit": 1})
            os._exit(0)

    def all_ran(self, status: int) -> None:
        """End the process: what the framework does after its last test is not needed."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        self.finish(status, None)
        os._exit(0)
