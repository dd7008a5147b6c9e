"""Define ``Checker``, the base class of the two proof checkers: ``Rocq`` in ``rocq.py`` and ``Lean`` in ``lean.py``.

A checker has a pool of threads. Each thread has a confined process of its own, which it keeps from one proof to the next. In that
process a small server of this package (``servers/``) drives the real program, Rocq or Lean. If a process is lost, another one is
started, and the request is sent to it once more.

Requests and answers are lines of JSON, and an answer has the ``id`` of its request. With Lean, for example:

    {"id": 1, "source": "theorem goal_6f1c8e0d2b7a4935 : 1 + 1 = 2\\n  := by\\n  rfl\\n...", "wall_s": 10.0}
    {"id": 1, "seconds": 0.3, "ended": "", "exit_code": 0, "messages": [["information", 6, "..."]], "said": ""}

A theorem is stated under a random name instead of its own. Otherwise a script could state an easier theorem of the same name and
prove that one.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox import CommandLimits
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import n_processors
from mlx_selfdebug.sandbox.session import Session, confined_session

GRACE_S = 90.0
"""Seconds that an answer may take beyond the time limit of a proof, for the start of the checker and the reading of imports."""
_SESSION_S = 86_400.0
"""The wall-clock and processor seconds of a confined process. After this day it is ended, and the next request starts another."""
_QUERY_S = 60.0
"""Seconds that a program may take to answer a question such as ``--version``."""
_SERVERS = Path(__file__).parent / "servers"

Script = TypeVar("Script")
"""The parsed form of a proof script: a list of sentences for Rocq, a list of lines for Lean."""


@dataclass(frozen=True)
class Installation:
    """The place where Rocq or Lean is installed."""

    program: str
    """The path of the program that checks proofs."""
    readable: tuple[str, ...]
    """The files and folders that the program reads."""


@dataclass(frozen=True)
class ServerSetup:
    """The settings with which the confined processes of a checker are started."""

    server: str
    """The module of ``servers/`` whose ``main`` answers requests, such as ``lean``."""
    arguments: tuple[str, ...]
    """The command-line arguments of the server."""
    installation: Installation
    memory_bytes: int
    """Bytes of memory that the server and all that it starts may use together."""
    processes: int
    """The number of processes and threads that they may have at one time."""
    seen_at: str | None = None
    """The path at which a process sees its working folder, or None for the folder's own path."""


class Checker(ABC, Generic[Script]):
    """A checker of proofs that keeps its processes until it is closed. Any thread may use it.

    It has ``workers`` processes, by default as many as there are processors. ``level`` is the weakest isolation that is accepted.
    Raises UsageError if Rocq or Lean is not installed or cannot be used, and SandboxError if its processes cannot be confined.
    """

    name: str
    """The name of the checker in messages, such as ``Rocq``."""
    isolation: Level
    """How well the processes of the checker are isolated."""
    version: str
    """The version of the checker, such as ``8.16.1``."""

    def __init__(self, level: Level, workers: int | None) -> None:
        self._level = level
        self._pool = ThreadPoolExecutor(workers or n_processors(), self.name)
        self._thread_local = threading.local()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        try:
            self._setup = self._server_setup()
            # One process is started at once, so that a checker that cannot be used fails here and not at its first proof.
            self.isolation, self.version = self._pool.submit(self._start_first_worker).result()
        except BaseException:
            self.close()
            raise

    def check(self, theorem: Theorem, script: str, wall_s: float = 10.0) -> Future[CheckedProof]:
        """Begin to check a proof, which may take ``wall_s`` seconds, and return the future result.

        Raises ScriptError if the script holds anything but tactics. The future raises UsageError if the checker cannot read the
        theorem, and SandboxError if it cannot be run.
        """
        return self._pool.submit(self._check, theorem, self._parse(script), wall_s)

    def close(self) -> None:
        """Cancel the checks that have not begun, wait for the others, and end all processes."""
        self._pool.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    @abstractmethod
    def _server_setup(self) -> ServerSetup:
        """Return the settings of the processes. Raises UsageError if the checker is not installed."""

    @abstractmethod
    def _require_usable(self) -> str:
        """Return the version of the checker. Raises UsageError if it is too old, or does not work here as it should."""

    @abstractmethod
    def _parse(self, script: str) -> Script:
        """Return a script in its parsed form. Raises ScriptError if it holds anything but tactics."""

    @abstractmethod
    def _check(self, theorem: Theorem, script: Script, wall_s: float) -> CheckedProof:
        """Check a proof. This is called in a thread of the pool, and raises what the future of ``check`` raises."""

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer of this thread's process to a request. Raises SandboxError if the process is lost twice."""
        return self._worker().ask(request, timeout_s)

    def _start_first_worker(self) -> tuple[Level, str]:
        """Start the process of the running thread, and return its isolation and the version of the checker."""
        return self._worker().isolation, self._require_usable()

    def _worker(self) -> _Worker:
        """Return the worker of the running thread, which is made at its first use."""
        if not hasattr(self._thread_local, "worker"):
            self._thread_local.worker = _Worker(self.name, self._setup, self._level)
            with self._lock:
                self._workers.append(self._thread_local.worker)
        worker: _Worker = self._thread_local.worker
        return worker


class _Worker:
    """A manager of one confined process, which is replaced if it is lost. Only one thread uses a worker."""

    def __init__(self, name: str, setup: ServerSetup, level: Level) -> None:
        self._name, self._setup, self._level = name, setup, level
        self._stack = ExitStack()  # closes the session and removes its folder
        self._n_requests = 0
        self._session: Session | None = (
            self._start()
        )  # None if the process was lost and none could be started in its place
        self.isolation = self._session.isolation

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer to a request. If the process is lost, the request is sent once more to another one.

        Raises SandboxError if that process is lost as well.
        """
        for _ in range(2):
            session = self._session = self._session or self._start()
            self._n_requests += 1
            session.send(request | {"id": self._n_requests})
            answer = session.receive(timeout_s)
            if answer is not None and answer.get("id") == self._n_requests:
                return answer
            # If memory runs out, the sandbox ends the process. The proof must have used it, since the server itself is small.
            ran_out_of_memory = session.has_ended and session.completed().ending == "memory"
            self._session = None
            self._stack.close()
            self._session = self._start()
            if ran_out_of_memory:
                return {"ended": "memory", "seconds": 0.0}
        raise SandboxError(f"the confined process that drives {self._name} was lost twice while it checked a proof")

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> Session:
        """Start a process with an empty working folder, and return the session with it."""
        setup = self._setup
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True))
        boot = (
            f"import sys; sys.path.insert(0, {str(_SERVERS.parent)!r}); from servers.{setup.server} import main; main()"
        )
        return self._stack.enter_context(
            confined_session(
                [sys.executable, "-I", "-S", "-c", boot, *setup.arguments],
                folder=folder,
                seen_at=setup.seen_at,
                readable=[str(_SERVERS.parent), *setup.installation.readable],
                programs=[setup.installation.program],
                limits=CommandLimits(
                    wall_s=_SESSION_S,
                    cpu_s=_SESSION_S,
                    memory_bytes=setup.memory_bytes,
                    processes=setup.processes,
                ),
                level=self._level,
            )
        )


def random_name() -> str:
    """Return a name under which a theorem can be stated, and which no script can know."""
    return f"goal_{secrets.token_hex(8)}"


def output_of(command: list[str], hint: str) -> str:
    """Return what a command prints on standard output, or what it prints on standard error if the first is empty.

    Raises UsageError with ``hint`` if the command cannot be started, takes longer than a minute, or prints what is not text.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command[0]} cannot be started: {error}", hint=hint) from error
    return done.stdout or done.stderr
