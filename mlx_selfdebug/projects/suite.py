"""Run a project's tests, confined, as often as it takes: all of them or some, with files replaced, several runs at a time.

    with open_suite(project) as suite:
        before = suite.run(facts=True).result()
        after = suite.run(before.failed(), {"package/module.py": patched}).result()

The tests run in a scratch copy of the project, inside one confined command that stays (``suite_server/``). It has imported
the test framework, and once it is ``warmed`` also the packages that the tests import, so that a run costs only what the project's
own code takes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.projects.project import Framework, Project, linked_folders
from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.projects.suite_run import SuiteRun, suite_run_of
from mlx_selfdebug.sandbox import CommandLimits, Scratch, describe_command_isolation, scratch_copy
from mlx_selfdebug.sandbox.command import NAMESPACES
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import n_processors
from mlx_selfdebug.sandbox.session import Session, confined_session

_SERVER = Path(__file__).parent / "suite_server"
# The project's folder comes first, as it does for ``python -m pytest``, and the server's own leaves no trace.
_BOOT = (
    f"import os, sys; sys.path.insert(0, {str(_SERVER.parent)!r}); from suite_server.server import main; "
    "sys.path[0] = os.getcwd(); main()"
)
_START_S = 60.0
_IMPORT_S = 60.0
_GRACE_S = 10.0
"""Seconds after the time of a run in which the process that serves it has to say so."""
_LOOK_S = 0.5
_VALUE_OPTIONS = frozenset({"-p", "-c", "-o", "-W", "-n", "-r"})
"""Short options of pytest that are followed by a value."""
_SELECTING = frozenset({"-k", "-m"})
"""Options that select tests, which are dropped where tests are named."""


@dataclass(frozen=True)
class SuiteLimits:
    """What a run of the tests may take."""

    wall_s: float = 600.0
    """Seconds for all tests together."""
    stall_s: float = 30.0
    """Seconds for one test. A run that reports nothing for so long is ended."""
    memory_bytes: int = 4 << 30
    """Bytes of memory of all processes together."""
    session_s: float = 7200.0
    """Seconds that the process which serves the runs may stay."""


@dataclass(frozen=True)
class Swap:
    """Other code for one function, of which nothing but the body differs."""

    file: str
    """The path of the function's file within the project."""
    name: str
    """The function's name, without those of its classes."""
    first: int
    """The number of its first line, from 1, decorators included."""
    program: str
    """A text that holds the function on the lines on which it stands in its file, below a header for each block around it."""

    @classmethod
    def to(cls, function: Function, program: str) -> Swap | None:
        """Return what makes a function into the one of ``program`` once it is loaded; None if more than its body differs."""
        swapped = function.swapped(program)
        return Swap(function.file.name, function.name.rpartition(".")[2], function.first, swapped) if swapped else None


@dataclass(eq=False)
class _Wanted:
    """A run that waits or is under way."""

    request: dict[str, Any]
    future: Future[SuiteRun] = field(default_factory=Future)
    lost: int = 0
    """How often the process that served this run was lost."""
    due: float = 0.0
    """When it must have ended, by the monotonic clock."""


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
        self.width = max(1, n_processors())
        """The number of runs at a time."""
        self.on_disk = False
        """Whether replaced files are written to the scratch copy, which takes one run at a time, and not only shown to imports."""
        self._level, self._allow_network = level, allow_network
        self._readable = [str(_SERVER.parent), *linked_folders(project.python, project.root), *readable]
        described = describe_command_isolation(project.python, allow_network=allow_network)
        self.isolation: Level = described.level
        """How well the tests are isolated."""
        in_force = described.in_force
        self.seen = scratch.project if in_force & NAMESPACES else scratch.folder
        """The folder in which the tests see the project."""
        self._modules: list[str] = []
        self._collected: list[str] = []
        self._originals: dict[str, bytes] = {}
        """What the files that runs have replaced on the disk hold otherwise, by their path within the project."""
        self._lock = threading.Lock()
        self._waiting: deque[_Wanted] = deque()
        self._under_way: dict[int, _Wanted] = {}
        self._n = 0
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._stack = ExitStack()

    def start(self) -> None:
        """Start the process that serves the runs. Raises SandboxError if it cannot be started, UsageError if it lacks pytest."""
        session = self._stack.enter_context(self._new_session())
        session.send({"do": "hello", "id": 0, "alone": session.has_namespaces})
        hello = session.receive(_START_S)
        if hello is None:
            raise SandboxError(f"the tests cannot be started with {self.project.python}: {_last_words(session)}")
        found = hello.get("framework")
        self.framework = self.framework or ("pytest" if found == "pytest" else "unittest")
        if self.framework == "pytest" and found != "pytest":
            raise UsageError(
                f"{self.project.python} has no pytest",
                hint=f"{self.project.python} -m pip install pytest, or name another interpreter with --python",
            )
        if self._modules:
            session.send({"do": "import", "id": 0, "modules": self._modules})
            session.receive(_IMPORT_S)
        if self._collected:
            session.send(
                {
                    "do": "collect", "id": 0, "framework": self.framework, "arguments": self._arguments(self._collected),
                    "tests": self._collected, "facts": False, "trace": [], "first_failure": False, "wall_s": _IMPORT_S,
                }
            )  # fmt: skip
            session.receive(2 * _IMPORT_S)
        self._session = session  # from now on, runs are sent to it
        self._thread = threading.Thread(target=self._serve, args=(session,), name="tests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process that serves the runs, and all runs that wait or are under way."""
        with self._lock:
            self._closed = True
        while (thread := self._thread) is not None:  # It may be starting a new process in place of one that was lost.
            self._stack.close()
            thread.join()
            if thread is self._thread:
                self._thread = None
        self._stack.close()

    def warm(self, modules: Sequence[str], tests: Sequence[str] = ()) -> None:
        """Start again with ``modules`` imported before the tests are.

        If ``tests`` are named, or files of tests, the project is also loaded once for them, so that a run of some of these tests
        with the code of one function swapped costs little more than the tests.
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
        first_failure: bool = False,
        facts: bool = False,
        trace: Sequence[str] = (),
        wall_s: float | None = None,
        stall_s: float | None = None,
    ) -> Future[SuiteRun]:
        """Begin a run, and return its future result.

        Args:
            tests: The ids of the tests to run; none means those that the project's command names.
            files: Texts to put in the place of files of the project, by their path within it.
            swap: The only function in which ``files`` differ from the project, if its body alone does. If the suite is warmed for
                all of ``tests``, the function is swapped in the project that is loaded already, where that comes to the same.
            first_failure: Whether to end the run with the first test that fails.
            facts: Whether to report why tests failed, what they load and what they print.
            trace: Files of the project of which the lines that each test runs are reported.
            wall_s: Seconds for the whole run, if it may not take as long as the limits allow.
            stall_s: Seconds for one test, likewise.
        """
        wanted = _Wanted(
            {
                "do": "run",
                "framework": self.framework,
                "arguments": self._arguments(tests),
                "tests": list(tests) if self.framework != "script" else [],
                "files": {str(self.seen / name): text for name, text in (files or {}).items()},
                "on_disk": self.on_disk and bool(files),
                "swap": None if swap is None or self.on_disk else self._swap(swap),
                "first_failure": first_failure,
                "facts": facts,
                "trace": [str(self.seen / name) for name in trace],
                "wall_s": min(wall_s or self.limits.wall_s, self.limits.wall_s),
                "stall_s": min(stall_s or self.limits.stall_s, self.limits.stall_s),
            }
        )
        if wanted.request["on_disk"]:
            for name in files or {}:
                if name not in self._originals:
                    self._originals[name] = (self.scratch.folder / name).read_bytes()
        with self._lock:
            self._waiting.append(wanted)
            self._send_more()
        return wanted.future

    def _swap(self, swap: Swap) -> dict[str, Any]:
        return {"path": str(self.seen / swap.file), "name": swap.name, "first": swap.first, "program": swap.program}

    def relative(self, path: str) -> str | None:
        """Return the path within the project of a file that the tests have named, or None if it lies outside."""
        full = os.path.normpath(os.path.join(self.seen, path))
        return os.path.relpath(full, self.seen) if full.startswith(f"{self.seen}{os.sep}") else None

    def _arguments(self, tests: Sequence[str]) -> list[str]:
        arguments = list(self.project.command.arguments)
        return options_of(arguments, self.project.root) if tests and self.framework == "pytest" else arguments

    def _new_session(self) -> Any:
        seen_at = self.scratch.project if self.seen == self.scratch.project else None
        path = [str(self.seen)] if seen_at is None else []
        path += [str(self.seen / "src")] if (self.scratch.folder / "src").is_dir() else []
        limits = self.limits
        return confined_session(
            [self.project.python, "-c", _BOOT],
            folder=self.scratch.folder,
            seen_at=seen_at,
            readable=self._readable,
            environment={"PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0"}
            if path
            else {"PYTHONHASHSEED": "0"},
            limits=CommandLimits(
                wall_s=limits.session_s, cpu_s=limits.session_s * self.width, memory_bytes=limits.memory_bytes
            ),
            allow_network=self._allow_network,
            level=self._level,
        )

    def _send_more(self) -> None:
        """Send as many requests as may be under way. The caller holds the lock."""
        while self._session and self._waiting and self._may_send(self._waiting[0]):
            wanted = self._waiting.popleft()
            if wanted.lost or wanted.future.set_running_or_notify_cancel():
                self._n += 1
                self._under_way[self._n] = wanted
                wanted.due = time.monotonic() + wanted.request["wall_s"] + _GRACE_S
                self._session.send(wanted.request | {"id": self._n})

    def _may_send(self, wanted: _Wanted) -> bool:
        # A run that may have ended the session before, or that changes files on the disk, has the session for itself.
        alone = wanted.lost or wanted.request["on_disk"]
        others_alone = any(other.lost or other.request["on_disk"] for other in self._under_way.values())
        return not others_alone and len(self._under_way) < (1 if alone else self.width)

    def _serve(self, session: Session) -> None:
        """Take the answers of a session until it ends."""
        try:
            while not self._is_lost(session):
                answer = session.receive(_LOOK_S)
                if answer is None:
                    continue
                with self._lock:
                    wanted = self._under_way.pop(answer.get("id", 0), None)
                    self._send_more()
                if wanted:
                    wanted.future.set_result(suite_run_of(answer))
        except SandboxError:  # It no longer speaks sense, which is as good as gone.
            pass
        self._lose(session)

    def _is_lost(self, session: Session) -> bool:
        """Return whether a session has ended, or is silent long after it should have ended a run, as if it had been stopped."""
        with self._lock:
            overdue = any(time.monotonic() > wanted.due for wanted in self._under_way.values())
        return overdue or session.has_ended

    def _lose(self, session: Session) -> None:
        """Answer the runs that were under way when a session ended, and go on with a new one unless the suite is closed."""
        with self._lock:
            closed, self._session = self._closed, None
            lost, self._under_way = list(self._under_way.values()), {}
            # If there was only one, or it was alone the second time, it has ended the session. Otherwise it may have been another.
            gone = [wanted for wanted in lost if closed or wanted.lost or len(lost) == 1]
            for wanted in lost:
                wanted.lost += 1
            self._waiting.extendleft(wanted for wanted in reversed(lost) if wanted not in gone)
            if closed:
                gone += [wanted for wanted in self._waiting if wanted.future.set_running_or_notify_cancel()]
                self._waiting.clear()
        if not closed:
            self._stack.close()
        ending = "closed" if closed else self._ending(session)
        if not closed:
            # The process that was lost cannot restore what it had replaced.
            for name, data in self._originals.items():
                (self.scratch.folder / name).write_bytes(data)
        for wanted in gone:
            wanted.future.set_result(SuiteRun(ending, {}))
        if not closed:
            self._restart()

    def _restart(self) -> None:
        try:
            self.start()
        except Exception as error:
            with self._lock:
                waiting, self._waiting = list(self._waiting), deque()
            for wanted in waiting:
                if wanted.lost or wanted.future.set_running_or_notify_cancel():
                    wanted.future.set_exception(error)
            return
        with self._lock:
            self._send_more()

    def _ending(self, session: Session) -> str:
        try:
            return session.completed().ending
        except (SandboxError, TimeoutError):
            return "lost"


def _last_words(session: Session) -> str:
    """Return why a session has ended, in a few words."""
    try:
        done = session.completed()
    except TimeoutError:
        return "it does not answer"
    return done.reason or (done.stderr.strip().splitlines() or ["no message"])[-1]


def options_of(arguments: Sequence[str], root: Path) -> list[str]:
    """Return the arguments of pytest without those that select tests."""
    kept: list[str] = []
    words = deque(arguments)
    while words:
        word = words.popleft()
        takes_value = word in _VALUE_OPTIONS | _SELECTING or (
            word.startswith("--") and "=" not in word and bool(words) and _is_value(words[0], root)
        )
        value = [words.popleft()] if takes_value and words else []
        if word.startswith("-") and word[:2] not in _SELECTING:
            kept += [word, *value]
    return kept


def _is_value(word: str, root: Path) -> bool:
    return not word.startswith("-") and "::" not in word and not (root / word).exists()


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
    """Give the suite of a project, in a scratch copy that exists until the block ends.

    The tests can read ``readable`` beside the project and its interpreter. ``files`` are written into the copy, by their path
    within the project. Raises SandboxError if confined commands are isolated less well than ``level``, and UsageError if the
    project is too large or its interpreter lacks pytest.
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
