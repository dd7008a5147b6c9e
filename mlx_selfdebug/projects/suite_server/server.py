"""Serve requests for runs: the process that stays, and the runs that are under way in its children."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from .child import replaced_on_disk, run_in_child, runner_of
from .collected import OTHERS, Collected
from .reports import say

MAX_REPORT_BYTES = 16 << 20
"""The largest number of bytes that one run may report."""
LAST_REPORT = b'{"exit":'
"""What the last report of a run begins with."""
COLLECTING = 4
"""How many times longer than a single test it may take until the first one begins, since all modules are loaded before."""
CHANNEL = 9


def main() -> NoReturn:
    """Serve requests until the channel is closed."""
    os.dup2(0, CHANNEL, inheritable=False)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    Server().serve()


class Server:
    """The process that stays."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        self._received = b""
        self._alone = False
        self._collected: Collected | None = None

    def serve(self) -> NoReturn:
        while True:
            due = min((run.deadline for run in self._runs.values()), default=time.monotonic() + 60)
            ready = select.select([CHANNEL, *self._runs], [], [], max(0.0, due - time.monotonic()))[0]
            for fd in ready:
                if fd == CHANNEL:
                    self._take_requests()
                elif not self._runs[fd].read():
                    self._end(fd, "ended")
            for fd in [fd for fd, run in self._runs.items() if time.monotonic() >= run.deadline]:
                self._end(fd, "timed_out")

    def _take_requests(self) -> None:
        more = os.read(CHANNEL, 1 << 20)
        if not more:
            os._exit(0)
        *lines, self._received = (self._received + more).split(b"\n")
        for line in lines:
            request = json.loads(line)
            {"hello": self._hello, "import": self._import, "collect": self._collect, "run": self._run}[request["do"]](
                request
            )

    def _hello(self, request: dict[str, Any]) -> None:
        self._alone = request["alone"]
        framework = "pytest" if importlib.util.find_spec("pytest") else "unittest"
        runner_of(framework)  # imported once, for all children
        say(CHANNEL, {"id": request["id"], "framework": framework})

    def _import(self, request: dict[str, Any]) -> None:
        failed = [name for name in request["modules"] if not imported(name)]
        # What is there already need not be looked at again by the garbage collector of each child.
        gc.collect()
        gc.freeze()
        say(CHANNEL, {"id": request["id"], "failed": failed})

    def _collect(self, request: dict[str, Any]) -> None:
        self._collected = Collected(request, CHANNEL)
        if not self._collected.is_ready:
            self._forget_collected()
        say(CHANNEL, {"id": request["id"], "ready": self._collected is not None})

    def _forget_collected(self) -> None:
        if self._collected:
            self._collected.end()
        self._collected = None

    def _run(self, request: dict[str, Any]) -> None:
        if not self._run_collected(request):
            self._run_anew(request)

    def _run_collected(self, request: dict[str, Any]) -> bool:
        """Begin a run in which the project is loaded already, and return whether that is possible."""
        if self._collected is None or request["swap"] is None or request["trace"]:
            return False
        reading, writing = os.pipe()
        try:
            pid = self._collected.start(request, writing)
        except OSError:
            self._forget_collected()
            pid = OTHERS
        finally:
            os.close(writing)
        if pid == OTHERS:
            os.close(reading)
            return False
        self._runs[reading] = Run(request, pid, reading, _nothing, self._collected.reap)
        return True

    def _run_anew(self, request: dict[str, Any]) -> None:
        """Begin a run in which the project is loaded with its files replaced."""
        restore = replaced_on_disk(request["files"]) if request["on_disk"] else _nothing
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reading)
                run_in_child(request, writing, CHANNEL)
            finally:
                os._exit(70)
        os.close(writing)
        self._runs[reading] = Run(request, pid, reading, restore, _reap)

    def _end(self, fd: int, ending: str) -> None:
        """End a run and all that it has started, and say what it reported."""
        run = self._runs.pop(fd)
        for kill in (os.killpg, os.kill):
            with suppress(OSError):
                kill(run.pid, signal.SIGKILL)
        # Where all processes that can be seen were started from here, nothing of a finished run is left behind, unless that would
        # also end the process that has collected the tests.
        if self._alone and not self._runs and self._collected is None:
            with suppress(OSError):
                os.kill(-1, signal.SIGKILL)
        run.reap(run.pid)
        self._reap_others()
        os.close(fd)
        run.restore()
        answer = run.answer(ending)
        if "unfit" in answer:
            self._run_anew(run.request)
        else:
            say(CHANNEL, answer)

    def _reap_others(self) -> None:
        """Reap what finished runs have left behind, but none of the runs that are under way."""
        with suppress(ChildProcessError):
            while not self._runs and os.waitpid(-1, os.WNOHANG)[0]:
                pass


class Run:
    """One run of tests that is under way in a child."""

    def __init__(
        self, request: dict[str, Any], pid: int, fd: int, restore: Callable[[], None], reap: Callable[[int], None]
    ) -> None:
        self.request, self.pid, self.restore, self.reap = request, pid, restore, reap
        self._fd = fd
        self._begin = time.monotonic()
        self._end, self._stall_s = self._begin + request["wall_s"], request["stall_s"]
        self.deadline = min(self._end, self._begin + COLLECTING * self._stall_s)
        self._data = bytearray()

    def read(self) -> bool:
        """Read what is there, and return whether the child may report more.

        Processes that a test has left behind may hold the pipe open, so the last report counts as the end.
        """
        more = os.read(self._fd, 1 << 20)
        self._data += more
        self.deadline = min(self._end, time.monotonic() + self._stall_s)
        last = self._data.rfind(b"\n", 0, -1) + 1
        finished = self._data.endswith(b"\n") and self._data.startswith(LAST_REPORT, last)
        return bool(more) and not finished and len(self._data) <= MAX_REPORT_BYTES

    def answer(self, ending: str) -> dict[str, Any]:
        """Return all reports of the run as one answer."""
        answer: dict[str, Any] = {"tests": {}, "lines": {}}
        for line in bytes(self._data).split(b"\n"):
            with suppress(ValueError):  # The child may have been ended while it wrote its last line.
                for name, value in json.loads(line).items():
                    if name in ("tests", "lines"):
                        answer[name].update(value)
                    else:
                        answer[name] = value
        return {**answer, "id": self.request["id"], "ending": ending, "wall_s": time.monotonic() - self._begin}


def imported(name: str) -> bool:
    """Import a module, and return whether that worked."""
    try:
        importlib.import_module(name)
    except BaseException:  # Whatever a module does while it is imported, the tests will find out for themselves.
        return False
    return name in sys.modules


def _nothing() -> None:
    """Restore nothing."""


def _reap(pid: int) -> None:
    """Reap a child that has been ended."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
