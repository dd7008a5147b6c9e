"""Keep a process that has collected the tests, and fork a child from it for each run that changes a single function.

Loading the project takes most of the time of a run. So one process loads the project, collects the tests and waits. For each run it
forks a child. The child replaces the code of the function that the run changes, and runs the tests.

``Collected`` is the server's side. In the process itself, the test framework calls ``_WaitingReports.collected`` after it has
collected the tests. The process stays in this call, where it waits and forks. The call returns only in the children, which then run
the tests.

The two sides talk over a socket, in lines of JSON. The process first sends 1 if it is ready, and otherwise 0. The server then sends
requests, and gets one number for each:

    {"tests": [...], "swap": {...}, ...}    with the descriptor for reports: the pid of the child, or ``NOT_COLLECTED``
    {"reap": 4711}                          1, once the child with this pid has been reaped
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from .child import EXIT_BROKEN, flush_output, limit_processor_time, redirect_output, runner_of
from .messages import CollectRequest, RunRequest
from .reports import Reports
from .swapping import Functions

ANSWER_S = 10.0
"""Seconds in which the process that has collected the tests must answer. It only has to fork or to reap a child."""
NOT_COLLECTED = 1
"""The answer to a request that asks for tests which were not collected. No run has this pid."""


class Collected:
    """The process that has collected some tests, as the server sees it.

    Args:
        request: The tests to collect.
        channel: The descriptor of the server's channel, which is closed in the new process.
    """

    def __init__(self, request: CollectRequest, channel: int) -> None:
        self._socket, other = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(channel)
                self._socket.close()
                _collect(request, other)
            finally:
                os._exit(EXIT_BROKEN)
        other.close()
        self._socket.settimeout(request["wall_s"])
        self.is_ready = self._answer() == 1 and hasattr(socket, "send_fds")
        """Whether all tests were collected in time and runs can be forked from the process."""
        self._socket.settimeout(ANSWER_S)

    def start(self, request: RunRequest, writing: int) -> int:
        """Start a run in a new process, which reports on the descriptor ``writing``.

        Returns the pid of the new process, or ``NOT_COLLECTED`` if some of the tests were not collected. Raises OSError if the
        process that has collected the tests is gone.
        """
        message = {
            "tests": request["tests"],
            "swap": request["swap"],
            "stop_at_first_failure": request["stop_at_first_failure"],
            "facts": request["facts"],
            "wall_s": request["wall_s"],
        }
        _send(self._socket, message, writing)
        pid = self._answer()
        if not pid:
            raise OSError("the process that collected the tests does not answer")
        return pid

    def reap(self, pid: int) -> None:
        """Have the process reap one of its children, which was killed."""
        with suppress(OSError):
            _send(self._socket, {"reap": pid})
            self._answer()

    def end(self) -> None:
        """Kill the process. Runs that were forked from it go on."""
        self._socket.close()
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _answer(self) -> int:
        """Return the number that the process sends, or 0 if it sends none in time."""
        try:
            return int(self._socket.recv(32))
        except (OSError, ValueError):
            return 0


def _send(connection: socket.socket, message: object, fd: int | None = None) -> None:
    """Send a message as a line of JSON, with a descriptor if one is given."""
    data = json.dumps(message).encode() + b"\n"
    if fd is not None:
        # Only the first byte is sent along with the descriptor, because ``send_fds`` may send only a part of longer data.
        socket.send_fds(connection, [data[:1]], [fd])
        data = data[1:]
    connection.sendall(data)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Return the server's next message, and the descriptor that came with it if any.

    Raises OSError if the server has closed the connection.
    """
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
    while data[-1:] != b"\n":
        more = connection.recv(1 << 16)
        if not more:
            raise OSError("the other side is gone")
        data += more
    return json.loads(data), fds[0] if fds else None


def _collect(request: CollectRequest, connection: socket.socket) -> NoReturn:
    """Load the project, collect the tests of a request, and fork runs until the server closes the connection."""
    os.setpgid(0, 0)
    redirect_output(kept=False)
    runner_of(request["framework"])(request, _WaitingReports(request, connection))
    os._exit(0)


class _WaitingReports(Reports):
    """The reports of the process that collects the tests. Before the first test runs, it waits for requests and forks."""

    def __init__(self, request: CollectRequest, connection: socket.socket) -> None:
        super().__init__(-1, request)  # there is no descriptor for reports until a run begins
        self._connection, self._tests = connection, request["tests"]
        self._functions = Functions()
        self._functions.watch()

    def collected(self, ids: Collection[str]) -> Collection[str]:
        """Fork for each run that the server requests. Returns only in the children, with the ids of the tests to run.

        ``ids`` are the ids of all tests that were collected. The process ends if the wanted tests are not among them.
        """
        self._functions.stop_watching()
        # A child has only the thread that forked it. If the project has started other threads, they would be missing.
        is_ready = all(_is_collected(test, ids) for test in self._tests) and threading.active_count() == 1
        _send(self._connection, int(is_ready))
        if not is_ready:
            os._exit(0)
        self._functions.find()
        collected_ids = set(ids)
        # Children then need not scan the objects that they share with this process when they collect garbage.
        gc.collect()
        gc.freeze()
        while True:
            try:
                message, fd = _receive(self._connection)
            except OSError:
                os._exit(0)
            if "reap" in message:
                with suppress(ChildProcessError):
                    os.waitpid(message["reap"], 0)
                _send(self._connection, 1)
                continue
            assert fd is not None
            are_collected = collected_ids.issuperset(message["tests"]) and bool(message["tests"])
            pid = os.fork() if are_collected else NOT_COLLECTED
            if not pid:
                self._begin_run(message, fd)
                return set(message["tests"])
            os.close(fd)
            _send(self._connection, pid)

    def all_ran(self, status: int) -> None:
        """Report the end of the run and end the process. What the framework does after its last test is not needed."""
        flush_output()
        self.finish(status, None)
        os._exit(0)

    def _begin_run(self, message: Mapping[str, Any], fd: int) -> None:
        """Prepare this process, which was just forked, for its run, and swap the function."""
        os.setpgid(0, 0)
        self._connection.close()
        limit_processor_time(int(message["wall_s"]) + 2)
        self._fd, self.stop_at_first_failure, self.with_facts = fd, message["stop_at_first_failure"], message["facts"]
        if message["swap"] and not self._functions.swap(message["swap"]):
            self._report({"unfit": True, "exit": 1})  # the server then loads the project for this run
            os._exit(0)


def _is_collected(test: str, ids: Collection[str]) -> bool:
    """Return whether a test was collected. For a file or a class, return whether any of its tests was."""
    return test in ids or any(id_.startswith(test + "::") for id_ in ids)
