"""Run a project's tests, confined, as often as needed: all of them or some, with files replaced, several runs at a time.

    with open_suite(project) as suite:
        before = suite.run(facts=True).result()
        after = suite.run(before.failed(), {"package/module.py": patched}).result()

The tests run in a scratch copy of the project, inside one confined command, the server (``suite_server/``), which forks for each
run. It has imported the test framework, and after ``Suite.warm`` also the packages that the tests import, so that a run takes
little longer than the project's own code does.

This module sends requests to the server and reads its answers. If the server is lost, as a test can cause, another one is started.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.projects.command import Framework
from mlx_selfdebug.projects.linked_folders import linked_folders
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.projects.suite_run import SuiteRun, suite_run_of
from mlx_selfdebug.projects.suite_server.messages import CollectRequest, RunRequest, SwapRequest
from mlx_selfdebug.sandbox import CommandLimits, Scratch, describe_command_isolation, scratch_copy
from mlx_selfdebug.sandbox.command import NAMESPACES
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import n_processors
from mlx_selfdebug.sandbox.session import Session, confined_session

_SERVER = Path(__file__).parent / "suite_server"
_BOOT = (
    f"import os, sys; sys.path.insert(0, {str(_SERVER.parent)!r}); from suite_server.server import main; "
    "sys.path[0] = os.getcwd(); main()"
)
"""The program of the confined command.

Once the server is imported, the project's folder replaces the server's at the head of the import path, where it is for
``python -m pytest`` too.
"""
_START_S = 60.0
"""Seconds in which the server has to answer its first request."""
_IMPORT_S = 60.0
"""Seconds that the server may take to import packages, and again to load the project and collect its tests."""
_GRACE_S = 10.0
"""Seconds after the time limit of a run in which the server has to report that the run has ended. Otherwise it counts as lost."""
_POLL_S = 0.5
"""Seconds between two looks at whether the server is lost."""
_VALUE_OPTIONS = frozenset({"-p", "-c", "-o", "-W", "-n", "-r"})
"""Short options of pytest that are followed by a value."""
_SELECTING_OPTIONS = frozenset({"-k", "-m"})
"""Options of pytest that select tests. They are dropped where tests are named, so that exactly these tests run."""


@dataclass(frozen=True)
class SuiteLimits:
    """The time and memory that runs of the tests may take."""

    wall_s: float = 600.0
    """Seconds for all tests of a run together."""
    stall_s: float = 30.0
    """Seconds for one test. A run that reports nothing for this long is ended."""
    memory_bytes: int = 4 << 30
    """Bytes of memory for all processes together."""
    session_s: float = 7200.0
    """Seconds after which the server is ended."""


@dataclass(frozen=True)
class Swap:
    """Other code for one function that differs from it in nothing but the body."""

    file: str
    """The path of the file that defines the function, relative to the project's folder."""
    name: str
    """The function's name, without those of its classes."""
    first: int
    """The number of the function's first line in its file, from 1, decorators included."""
    program: str
    """Source that defines the function on the same lines as its file does (``Function.swapped``)."""

    @classmethod
    def to(cls, function: Function, program: str) -> Swap | None:
        """Return the swap that turns ``function`` into the one of ``program``, or None if more than its body differs."""
        swapped = function.swapped(program)
        return Swap(function.file.name, function.name.rpartition(".")[2], function.first, swapped) if swapped else None


@contextmanager
def open_suite(
    project: Project,
    limits: SuiteLimits | None = None,
    *,
    level: Level = "full",
    allow_network: bool = False,
    readable: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Iterator[Suite]:
    """Copy a project into a scratch folder and open its suite there. The copy and the suite are gone when the block ends.

    Args:
        project: The project, with its interpreter and test command.
        limits: The limits of each run.
        level: How well the tests have to be isolated.
        allow_network: Whether the tests may use the network.
        readable: Paths that the tests may read beside the project and its interpreter.
        files: Contents that are written into the copy before the tests start, by paths relative to the project's folder.

    Raises SandboxError if this machine isolates commands less well than ``level``, or if the server cannot be started. Raises
    UsageError if the project is too large or its interpreter lacks pytest.
    """
    with scratch_copy(project.root) as scratch:
        for name, data in (files or {}).items():
            (scratch.folder / name).write_bytes(data)
        suite = Suite(
            project, scratch, limits or SuiteLimits(), level=level, allow_network=allow_network, readable=readable
        )
        try:
            suite.start()
            yield suite
        finally:
            suite.close()


@dataclass(eq=False)
class _PendingRun:
    """A run that waits to be sent or is under way."""

    request: RunRequest
    future: Future[SuiteRun] = field(default_factory=Future)
    n_lost: int = 0
    """How often the server was lost while this run was under way."""
    deadline: float = 0.0
    """The monotonic time by which the server must have reported the end of this run."""


class Suite:
    """The tests of a project in a scratch copy of it. ``open_suite`` makes one."""

    def __init__(
        self,
        project: Project,
        scratch: Scratch,
        limits: SuiteLimits,
        *,
        level: Level,
        allow_network: bool,
        readable: Sequence[str] = (),
    ) -> None:
        self.project, self.scratch, self.limits = project, scratch, limits
        self.framework: Framework = project.command.framework
        """The framework that runs the tests. It is known once the suite has started."""
        self.width = max(1, n_processors())
        """The number of runs that may be under way at a time."""
        self.on_disk = False
        """Whether replaced files are written to the scratch copy, for which one run at a time is under way.

        Otherwise they are only shown to imports.
        """
        isolation = describe_command_isolation(project.python, allow_network=allow_network)
        self.isolation: Level = isolation.level
        """How well the tests are isolated."""
        self.seen = scratch.project if isolation.in_force & NAMESPACES else scratch.folder
        """The folder in which the tests see the project: with namespaces its own path, otherwise that of the copy."""
        self._level, self._allow_network = level, allow_network
        self._readable = [str(_SERVER.parent), *linked_folders(project.python, project.root), *readable]
        self._modules: list[str] = []
        """The modules that the server imports when it starts."""
        self._collected: list[str] = []
        """The tests, or files of tests, for which the server loads the project when it starts."""
        self._originals: dict[str, bytes] = {}
        """The original contents of the files that runs have replaced on the disk, by their paths within the project."""
        self._lock = threading.Lock()
        """Guards the session, and the collections of runs that wait or are under way."""
        self._waiting: deque[_PendingRun] = deque()
        self._under_way: dict[int, _PendingRun] = {}
        """The runs that were sent, by the ids of their requests."""
        self._n_sent = 0
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        """The thread that reads the answers of the session."""
        self._closed = False
        self._stack = ExitStack()
        """Ends the session when it is closed."""

    def start(self) -> None:
        """Start the server. Raises SandboxError if it cannot be started, and UsageError if pytest is wanted but not installed."""
        session = self._stack.enter_context(self._new_session())
        session.send({"do": "hello", "id": 0, "alone": session.has_namespaces})
        hello = session.receive(_START_S)
        if hello is None:
            raise SandboxError(f"the tests cannot be started with {self.project.python}: {_last_words(session)}")
        has_pytest = hello.get("framework") == "pytest"
        self.framework = self.framework or ("pytest" if has_pytest else "unittest")
        if self.framework == "pytest" and not has_pytest:
            raise UsageError(
                f"{self.project.python} has no pytest",
                hint=f"{self.project.python} -m pip install pytest, or name another interpreter with --python",
            )
        if self._modules:
            session.send({"do": "import", "id": 0, "modules": self._modules})
            session.receive(_IMPORT_S)
        if self._collected:
            request: CollectRequest = {
                "do": "collect",
                "id": 0,
                "framework": self.framework,
                "arguments": self._arguments(self._collected),
                "tests": self._collected,
                "facts": False,
                "trace": [],
                "stop_at_first_failure": False,
                "wall_s": _IMPORT_S,
            }
            session.send(request)
            session.receive(2 * _IMPORT_S)
        self._session = session  # from now on, runs are sent to it
        self._thread = threading.Thread(target=self._serve, args=(session,), name="tests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server, and all runs that wait or are under way."""
        with self._lock:
            self._closed = True
        # The thread may be starting another server in place of one that was lost, with a thread of its own.
        while (thread := self._thread) is not None:
            self._stack.close()
            thread.join()
            if thread is self._thread:
                self._thread = None
        self._stack.close()

    def warm(self, modules: Sequence[str], tests: Sequence[str] = ()) -> None:
        """Start the server again, with modules imported before any run.

        Args:
            modules: The names of the modules, which must not be those of the project itself.
            tests: The ids of tests, or files of tests, for which the project is also loaded once. A run of some of these tests with
                the code of one function swapped then takes little longer than the tests.
        """
        self.close()
        self._closed = False
        self._modules, self._collected = list(modules), list(tests) if self.framework != "script" else []
        self.start()

    def run(
        self,
        tests: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        *,
        swap: Swap | None = None,
        stop_at_first_failure: bool = False,
        facts: bool = False,
        trace: Sequence[str] = (),
        wall_s: float | None = None,
        stall_s: float | None = None,
    ) -> Future[SuiteRun]:
        """Begin a run of tests, and return its future result.

        Args:
            tests: The ids of the tests; none means those that the project's test command selects.
            files: Texts that take the place of files of the project, by paths relative to its folder.
            swap: The same change as ``files``, if it is one of nothing but the body of one function. If the suite is warm for all
                of ``tests``, the function is swapped in the project that is loaded already, unless that could make a difference.
            stop_at_first_failure: Whether to end the run with the first test that fails.
            facts: Whether to report why tests failed, what they load and what they print.
            trace: Files, relative to the project's folder, whose lines are reported if a test runs them.
            wall_s: Seconds for the whole run, if they are fewer than the suite's limit.
            stall_s: Seconds for one test, if they are fewer than the suite's limit.
        """
        files, on_disk = files or {}, self.on_disk and bool(files)
        request: RunRequest = {
            "do": "run",
            "id": 0,  # set when the request is sent
            "framework": self.framework,
            "arguments": self._arguments(tests),
            "tests": list(tests) if self.framework != "script" else [],
            "files": {str(self.seen / name): text for name, text in files.items()},
            "on_disk": on_disk,
            "swap": None if swap is None or self.on_disk else self._swap_request(swap),
            "stop_at_first_failure": stop_at_first_failure,
            "facts": facts,
            "trace": [str(self.seen / name) for name in trace],
            "wall_s": min(wall_s or self.limits.wall_s, self.limits.wall_s),
            "stall_s": min(stall_s or self.limits.stall_s, self.limits.stall_s),
        }
        if on_disk:
            for name in files:
                if name not in self._originals:
                    self._originals[name] = (self.scratch.folder / name).read_bytes()
        pending = _PendingRun(request)
        with self._lock:
            self._waiting.append(pending)
            self._send_waiting()
        return pending.future

    def relative(self, path: str) -> str | None:
        """Return the path, relative to the project's folder, of a file that the tests have named; None if it lies outside."""
        full = os.path.normpath(os.path.join(self.seen, path))
        return os.path.relpath(full, self.seen) if full.startswith(f"{self.seen}{os.sep}") else None

    def _swap_request(self, swap: Swap) -> SwapRequest:
        return {"path": str(self.seen / swap.file), "name": swap.name, "first": swap.first, "program": swap.program}

    def _arguments(self, tests: Sequence[str]) -> list[str]:
        """Return the arguments of the test command, without those that select tests if ``tests`` are named."""
        arguments = list(self.project.command.arguments)
        return options_of(arguments, self.project.root) if tests and self.framework == "pytest" else arguments

    def _new_session(self) -> AbstractContextManager[Session]:
        """Return a new session with a server. Imports find the scratch copy of the project before any installed version of it."""
        is_seen_in_place = self.seen == self.scratch.project
        # The copy has to come before the original project, which may be installed in the virtual environment.
        path = [] if is_seen_in_place else [str(self.seen)]
        path += [str(self.seen / "src")] if (self.scratch.folder / "src").is_dir() else []
        environment = {"PYTHONHASHSEED": "0"}  # tests whose parameters come from a set have the same ids in every run
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(path)
        limits = self.limits
        return confined_session(
            [self.project.python, "-c", _BOOT],
            folder=self.scratch.folder,
            seen_at=self.scratch.project if is_seen_in_place else None,
            readable=self._readable,
            environment=environment,
            limits=CommandLimits(
                wall_s=limits.session_s, cpu_s=limits.session_s * self.width, memory_bytes=limits.memory_bytes
            ),
            allow_network=self._allow_network,
            level=self._level,
        )

    def _send_waiting(self) -> None:
        """Send the requests of waiting runs while more may be under way. The caller holds the lock."""
        while self._session and self._waiting and self._may_send(self._waiting[0]):
            pending = self._waiting.popleft()
            # A run that is sent again is marked as running already. Any other may have been cancelled while it waited.
            if pending.n_lost or pending.future.set_running_or_notify_cancel():
                self._n_sent += 1
                self._under_way[self._n_sent] = pending
                pending.request["id"] = self._n_sent
                pending.deadline = time.monotonic() + pending.request["wall_s"] + _GRACE_S
                self._session.send(pending.request)

    def _may_send(self, pending: _PendingRun) -> bool:
        """Return whether a run may begin beside those that are under way."""
        others = self._under_way.values()
        return not any(map(_runs_alone, others)) and len(others) < (1 if _runs_alone(pending) else self.width)

    def _serve(self, session: Session) -> None:
        """Read the answers of a session until it is lost or closed."""
        try:
            while not self._is_lost(session):
                answer = session.receive(_POLL_S)
                if answer is None:
                    continue
                with self._lock:
                    pending = self._under_way.pop(answer.get("id", 0), None)
                    self._send_waiting()
                if pending:
                    pending.future.set_result(suite_run_of(answer))
        except SandboxError:  # An answer that cannot be read is treated like a lost server.
            pass
        self._handle_loss(session)

    def _is_lost(self, session: Session) -> bool:
        """Return whether a session has ended, or has not reported a run that is overdue: a test may have stopped the server."""
        with self._lock:
            is_overdue = any(time.monotonic() > pending.deadline for pending in self._under_way.values())
        return is_overdue or session.has_ended

    def _handle_loss(self, session: Session) -> None:
        """Give results to the runs that have ended a session, and start another one for the others unless the suite is closed."""
        with self._lock:
            closed, self._session = self._closed, None
            lost, self._under_way = list(self._under_way.values()), {}
            # A run that was alone has ended the session. Of several runs, any may have ended it, so each is tried again, alone.
            done = [pending for pending in lost if closed or pending.n_lost or len(lost) == 1]
            for pending in lost:
                pending.n_lost += 1
            self._waiting.extendleft(pending for pending in reversed(lost) if pending not in done)
            if closed:
                done += [pending for pending in self._waiting if pending.future.set_running_or_notify_cancel()]
                self._waiting.clear()
        ending = "closed"
        if not closed:
            self._stack.close()
            ending = _ending(session)
            # The server restores the files that it has replaced when a run ends. A lost server has not done that.
            for name, data in self._originals.items():
                (self.scratch.folder / name).write_bytes(data)
        for pending in done:
            pending.future.set_result(SuiteRun(ending, {}))
        if not closed:
            self._restart()

    def _restart(self) -> None:
        """Start another server for the runs that wait. If that fails, they fail with the same error."""
        try:
            self.start()
        except Exception as error:
            with self._lock:
                waiting, self._waiting = list(self._waiting), deque()
            for pending in waiting:
                if pending.n_lost or pending.future.set_running_or_notify_cancel():
                    pending.future.set_exception(error)
            return
        with self._lock:
            self._send_waiting()


def _runs_alone(pending: _PendingRun) -> bool:
    """Return whether no other run may be under way: this one may have ended a session, or it changes files on the disk."""
    return pending.n_lost > 0 or pending.request["on_disk"]


def _ending(session: Session) -> str:
    """Return how a session ended, such as "memory", or "lost" if it is not known."""
    try:
        return session.completed().ending
    except (SandboxError, TimeoutError):
        return "lost"


def _last_words(session: Session) -> str:
    """Return in a few words why a session does not answer."""
    try:
        done = session.completed()
    except TimeoutError:
        return "it does not answer"
    return done.reason or (done.stderr.strip().splitlines() or ["no message"])[-1]


def options_of(arguments: Sequence[str], root: Path) -> list[str]:
    """Return the arguments of pytest without those that select tests: paths, ids, and the options ``-k`` and ``-m``.

    A long option without "=" takes the next word as its value if that word is neither an option nor a test id nor a path within the
    project at ``root``. Plugins add options, so there is no list of all that take a value.
    """
    kept: list[str] = []
    words = deque(arguments)
    while words:
        word = words.popleft()
        takes_value = word in _VALUE_OPTIONS | _SELECTING_OPTIONS or (
            word.startswith("--") and "=" not in word and bool(words) and _may_be_value(words[0], root)
        )
        value = [words.popleft()] if takes_value and words else []
        if word.startswith("-") and word[:2] not in _SELECTING_OPTIONS:
            kept += [word, *value]
    return kept


def _may_be_value(word: str, root: Path) -> bool:
    return not word.startswith("-") and "::" not in word and not os.path.exists(root / word)
