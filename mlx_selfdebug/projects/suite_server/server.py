"""Serve requests for test runs: fork a child for each run, watch it, and answer with what it reports.

``messages.py`` describes the requests and answers. A run is forked from one of two processes. This process has imported the test
framework. The other has also collected the tests (``collected.py``).
"""

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

from .child import EXIT_BROKEN, replaced_on_disk, run_in_child, runner_of
from .collected import NOT_COLLECTED, Collected
from .messages import CollectRequest, RunRequest
from .reports import send

CHANNEL = 9
"""The descriptor of the channel to ``suite.py``. The channel arrives as descriptor 0 and is moved, since tests may read from 0."""
MAX_REPORT_BYTES = 16 << 20
"""The largest number of bytes that one run may report. A run that reports more is killed."""
LAST_REPORT = b'{"exit":'
"""The beginning of the last report of a run (``Reports.finish``)."""
FIRST_REPORT_FACTOR = 4
"""The first report may take this many times ``stall_s``, because all modules are imported first."""


def main() -> NoReturn:
    """Serve requests until the channel is closed."""
    os.dup2(0, CHANNEL, inheritable=False)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    Server().serve()


class Server:
    """The process that serves the requests. It lives as long as the channel is open."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}
        """The runs that are under way. The key is the descriptor from which the reports of the run are read."""
        self._received = b""
        """The part of a request that has arrived so far."""
        self._alone = False
        """Whether this process sees only itself and what it started, so that it may kill everything visible."""
        self._collected: Collected | None = None
        """The process that has collected the tests, or None if there is none."""

    def serve(self) -> NoReturn:
        """Handle requests and reports as they arrive, and kill the runs that take too long."""
        handlers: dict[str, Callable[[Any], None]] = {
            "hello": self._hello,
            "import": self._import,
            "collect": self._collect,
            "run": self._run,
        }
        while True:
            deadline = min((run.deadline for run in self._runs.values()), default=time.monotonic() + 60)
            timeout_s = max(0.0, deadline - time.monotonic())
            for fd in select.select([CHANNEL, *self._runs], [], [], timeout_s)[0]:
                if fd == CHANNEL:
                    for line in self._read_lines():
                        request = json.loads(line)
                        handlers[request["do"]](request)
                elif not self._runs[fd].read():
                    self._end(fd, "ended")
            for fd in [fd for fd, run in self._runs.items() if time.monotonic() >= run.deadline]:
                self._end(fd, "timed_out")

    def _read_lines(self) -> list[bytes]:
        """Return the requests that have arrived completely. Ends the process if the channel is closed."""
        data = os.read(CHANNEL, 1 << 20)
        if not data:
            os._exit(0)
        *lines, self._received = (self._received + data).split(b"\n")
        return lines

    def _hello(self, request: dict[str, Any]) -> None:
        """Answer with the test framework of the interpreter: pytest if it is installed, and otherwise unittest."""
        self._alone = request["alone"]
        framework = "pytest" if importlib.util.find_spec("pytest") else "unittest"
        runner_of(framework)  # imports the framework once for all children
        send(CHANNEL, {"id": request["id"], "framework": framework})

    def _import(self, request: dict[str, Any]) -> None:
        """Import modules, and answer with the names of those that cannot be imported."""
        failed = [name for name in request["modules"] if not try_import(name)]
        # Children then need not scan the objects that they share with this process when they collect garbage.
        gc.collect()
        gc.freeze()
        send(CHANNEL, {"id": request["id"], "failed": failed})

    def _collect(self, request: CollectRequest) -> None:
        """Start the process that collects the tests, and answer whether runs can be forked from it."""
        self._collected = Collected(request, CHANNEL)
        if not self._collected.is_ready:
            self._drop_collected()
        send(CHANNEL, {"id": request["id"], "ready": self._collected is not None})

    def _drop_collected(self) -> None:
        """End the process that has collected the tests, if there is one. Runs then load the project themselves."""
        if self._collected:
            self._collected.end()
        self._collected = None

    def _run(self, request: RunRequest) -> None:
        if not self._fork_from_collected(request):
            self._fork_from_here(request)

    def _fork_from_collected(self, request: RunRequest) -> bool:
        """Fork a run from the process that has collected the tests. Return False if this run cannot be forked from it."""
        if self._collected is None or request["swap"] is None or request["trace"]:
            return False
        reading, writing = os.pipe()
        try:
            pid = self._collected.start(request, writing)
        except OSError:
            self._drop_collected()
            pid = NOT_COLLECTED
        finally:
            os.close(writing)
        if pid == NOT_COLLECTED:
            os.close(reading)
            return False
        self._runs[reading] = Run(request, pid, reading, restore=_restore_nothing, reap=self._collected.reap)
        return True

    def _fork_from_here(self, request: RunRequest) -> None:
        """Fork a run from this process. The run loads the project, with the files of the request replaced."""
        restore = replaced_on_disk(request["files"]) if request["on_disk"] else _restore_nothing
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reading)
                run_in_child(request, writing, CHANNEL)
            finally:
                os._exit(EXIT_BROKEN)
        os.close(writing)
        self._runs[reading] = Run(request, pid, reading, restore=restore, reap=_reap)

    def _end(self, fd: int, ending: str) -> None:
        """Kill the processes of a run and send the answer, or fork it again from here if its function could not be swapped."""
        run = self._runs.pop(fd)
        for kill in (os.killpg, os.kill):
            with suppress(OSError):
                kill(run.pid, signal.SIGKILL)
        # Processes that left their run's group can only be killed together with everything else that is visible. So this is done
        # only if no run and no process that has collected tests is alive.
        if self._alone and not self._runs and self._collected is None:
            with suppress(OSError):
                os.kill(-1, signal.SIGKILL)
        run.reap(run.pid)
        self._reap_orphans()
        os.close(fd)
        run.restore()
        answer = run.answer(ending)
        if "unfit" in answer:
            self._fork_from_here(run.request)
        else:
            send(CHANNEL, answer)

    def _reap_orphans(self) -> None:
        """Reap the processes that ended runs left behind. Does nothing while runs are under way: it could reap their children."""
        with suppress(ChildProcessError):
            while not self._runs and os.waitpid(-1, os.WNOHANG)[0]:
                pass


class Run:
    """A run of tests that is under way in a child.

    Args:
        request: The request for this run.
        pid: The pid of the child. Its process group has the same number.
        fd: The descriptor from which the child's reports are read.
        restore: Restores the files that were replaced on the disk.
        reap: Reaps the child with the given pid after it was killed. Only the process that forked the child can do this.
    """

    def __init__(
        self, request: RunRequest, pid: int, fd: int, *, restore: Callable[[], None], reap: Callable[[int], None]
    ) -> None:
        self.request, self.pid, self.restore, self.reap = request, pid, restore, reap
        self._fd = fd
        self._begin = time.monotonic()
        self._ends_at, self._stall_s = self._begin + request["wall_s"], request["stall_s"]
        self.deadline = min(self._ends_at, self._begin + FIRST_REPORT_FACTOR * self._stall_s)
        """The run is killed at this monotonic time; every report moves it on."""
        self._data = bytearray()

    def read(self) -> bool:
        """Read the reports that have arrived, and return whether more may follow.

        Nothing follows the last report; a leftover process may still hold the pipe open.
        """
        data = os.read(self._fd, 1 << 20)
        self._data += data
        self.deadline = min(self._ends_at, time.monotonic() + self._stall_s)
        last_line = self._data.rfind(b"\n", 0, -1) + 1
        is_finished = self._data.endswith(b"\n") and self._data.startswith(LAST_REPORT, last_line)
        return bool(data) and not is_finished and len(self._data) <= MAX_REPORT_BYTES

    def answer(self, ending: str) -> dict[str, Any]:
        """Return the answer to the request: all reports of the run, merged. ``ending`` is "ended" or "timed_out"."""
        answer: dict[str, Any] = {"tests": {}, "lines": {}}
        for line in bytes(self._data).split(b"\n"):
            with suppress(ValueError):  # the last line is incomplete if the child was killed while it wrote
                for name, value in json.loads(line).items():
                    if name in ("tests", "lines"):
                        answer[name].update(value)
                    else:
                        answer[name] = value
        return {**answer, "id": self.request["id"], "ending": ending, "wall_s": time.monotonic() - self._begin}


def try_import(name: str) -> bool:
    """Import a module, and return whether that succeeded."""
    try:
        importlib.import_module(name)
    except BaseException:  # a module may raise anything; the tests that need it will fail by themselves
        return False
    return name in sys.modules


def _restore_nothing() -> None:
    pass


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
