"""Define ``Checker``, which checks proofs in confined processes that it keeps. ``rocq.py`` and ``lean.py`` say how.

A checker has as many threads as it may have processes. Each thread has a process of its own, in which a small server of ours
(``servers/``) drives the real checker. A process that is lost is started again, and what it was asked is asked once more.

A theorem is not stated under its own name, but under one that no script can know. So a script cannot state and prove another
theorem in its place.
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
_QUERY_S = 60.0
_SERVERS = Path(__file__).parent / "servers"

Script = TypeVar("Script")
"""What a checker makes of the text of a proof script."""


@dataclass(frozen=True)
class Installation:
    """Where the program of a checker is installed."""

    program: str
    """Its path."""
    readable: tuple[str, ...]
    """The files and folders that it reads."""


@dataclass(frozen=True)
class Served:
    """What the process of a checker runs, and what it may use."""

    server: str
    """The module of ``servers/`` whose ``main`` answers requests."""
    arguments: tuple[str, ...]
    """The arguments of the server."""
    installation: Installation
    memory_bytes: int
    """Bytes of memory that the server and all that it starts may use together."""
    processes: int
    """The number of processes and threads at one time."""
    seen_at: str | None = None
    """The path at which the process sees its working folder, or None for the folder's own path."""


class Checker(ABC, Generic[Script]):
    """A checker of proofs that keeps its processes until it is closed. Any thread may use it."""

    name: str
    """The name of the checker in messages, such as ``Rocq``."""

    def __init__(self, level: Level, workers: int | None) -> None:
        self._level = level
        self._pool = ThreadPoolExecutor(workers or n_processors(), self.name)
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        try:
            self._served = self._find()
            first: tuple[Level, str] = self._pool.submit(lambda: (self._worker().isolation, self._examine())).result()
        except BaseException:
            self.close()
            raise
        self.isolation = first[0]
        """How well the processes of the checker are isolated."""
        self.version = first[1]
        """The version of the checker, such as ``8.16.1``."""

    def check(self, theorem: Theorem, script: str, wall_s: float = 10.0) -> Future[CheckedProof]:
        """Begin to check a proof, which may take ``wall_s`` seconds, and return the future result.

        Raises ScriptError if the script holds anything but tactics. The future raises UsageError if the checker cannot read the
        theorem, and SandboxError if it cannot be run.
        """
        return self._pool.submit(self._check, theorem, self._read(script), wall_s)

    def close(self) -> None:
        """End all processes. What waits is cancelled."""
        self._pool.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    @abstractmethod
    def _find(self) -> Served:
        """Return what the processes run. Raises UsageError if the checker is not installed."""

    @abstractmethod
    def _examine(self) -> str:
        """Return the version of the checker. Raises UsageError if it is of no use here."""

    @abstractmethod
    def _read(self, script: str) -> Script:
        """Return what is sent of a script. Raises ScriptError if it holds anything but tactics."""

    @abstractmethod
    def _check(self, theorem: Theorem, script: Script, wall_s: float) -> CheckedProof:
        """Check a proof, in a thread of the pool."""

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer of this thread's process to a request. Raises SandboxError if the process is lost twice."""
        return self._worker().ask(request, timeout_s)

    def _worker(self) -> _Worker:
        """Return the worker of the running thread."""
        if not hasattr(self._own, "worker"):
            self._own.worker = _Worker(self.name, self._served, self._level)
            with self._lock:
                self._workers.append(self._own.worker)
        worker: _Worker = self._own.worker
        return worker


class _Worker:
    """One confined process, started again if it is lost. A single thread uses it."""

    def __init__(self, name: str, served: Served, level: Level) -> None:
        self._name, self._served, self._level = name, served, level
        self._stack = ExitStack()
        self._n = 0
        self._session = self._start()
        self.isolation = self._session.isolation

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer to a request. It is asked once more if the process is lost. Raises SandboxError if it is lost again."""
        for _ in range(2):
            self._n += 1
            self._session.send(request | {"id": self._n})
            answer = self._session.receive(timeout_s)
            if answer is not None and answer.get("id") == self._n:
                return answer
            # The sandbox ends the whole process if memory runs out. That is the doing of the proof, as all else here is small.
            used_up = self._session.has_ended and self._session.completed().ending == "memory"
            self._stack.close()
            self._session = self._start()
            if used_up:
                return {"ended": "memory", "seconds": 0.0}
        raise SandboxError(f"the confined process that drives {self._name} was lost twice while it checked a proof")

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> Session:
        served = self._served
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True))
        boot = f"import sys; sys.path.insert(0, {str(_SERVERS.parent)!r}); from servers.{served.server} import main; main()"
        return self._stack.enter_context(
            confined_session(
                [sys.executable, "-I", "-S", "-c", boot, *served.arguments],
                folder=folder,
                seen_at=served.seen_at,
                readable=[str(_SERVERS.parent), *served.installation.readable],
                programs=[served.installation.program],
                # A session counts its time from its start, so it is given a day, and started again after it.
                limits=CommandLimits(
                    wall_s=_SESSION_S,
                    cpu_s=_SESSION_S,
                    memory_bytes=served.memory_bytes,
                    processes=served.processes,
                ),
                level=self._level,
            )
        )


def new_name() -> str:
    """Return a name for a theorem that no script can know."""
    return f"goal_{secrets.token_hex(8)}"


def printed(command: list[str], hint: str) -> str:
    """Return what a program prints, or else what it says on standard error.

    Raises UsageError with ``hint`` if it cannot be started.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command[0]} cannot be started: {error}", hint=hint) from error
    return done.stdout or done.stderr
