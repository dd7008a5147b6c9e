"""Check proofs with Rocq, which used to be called Coq.

    with open_rocq() as rocq:
        rocq.check(Theorem("t", "Theorem t : 1 + 1 = 2."), "reflexivity.").result().proved

A confined process drives Rocq (``rocq_server/``), and there are as many of them as processors. A theorem counts as proved if Rocq
accepts the script between our statement and our ``Qed.``, if no proof is open after it, and if Rocq says that the proof rests on
no axioms but those that are allowed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.proving.rocq_server.server import NOTHING
from mlx_selfdebug.proving.script import tactics_of
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem
from mlx_selfdebug.sandbox import CommandLimits
from mlx_selfdebug.sandbox.isolation import Level
from mlx_selfdebug.sandbox.runner import n_processors
from mlx_selfdebug.sandbox.session import Session, confined_session

PROGRAMS = ("coqidetop.opt", "coqidetop")
"""The names of the program that speaks the protocol of Rocq's editors."""
INSTALL = "apt install coq, or brew install rocq"
OLDEST_PROTOCOL = "20210506"
"""The protocol of Coq 8.15, the first in which a sentence is added as it is here."""
MEMORY_BYTES = 1 << 30
"""Bytes of memory that each process of Rocq may map."""
_SESSION_S = 86_400.0
_GRACE_S = 90.0
"""Seconds beside those of a proof in which an answer has to come: the start of Rocq and the reading of imports."""
_SERVER = Path(__file__).parent / "rocq_server"
_BOOT = f"import sys; sys.path.insert(0, {str(_SERVER.parent)!r}); from rocq_server.server import main; main()"
# Below the line "Axioms:", the lines of each axiom begin with its name and its type: "classic : forall ...".
_AXIOM = re.compile(r"^([\w.']+)\s+:", re.MULTILINE)
_IN_PROOF = re.compile(r"^\s*\(in proof [\w']+\):\s*")
# The first line of a hypothesis, or a line that goes on with it.
_HYPOTHESIS = re.compile(r"[\w', ]+ :=? |\s")
_QUERY_S = 60.0


@dataclass(frozen=True)
class Installation:
    """Where Rocq is installed."""

    program: str
    """The path of ``coqidetop``."""
    readable: tuple[str, ...]
    """The files and folders that it reads."""


@cache
def installation() -> Installation:
    """Return where Rocq is installed. Raises UsageError if it is not on the path, or does not say where its library is."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise UsageError(f"Rocq is not installed: there is no {PROGRAMS[-1]} on the path", hint=INSTALL)
    # All its programs share their options; coqidetop itself has no -config.
    compiler = shutil.which("coqc") or program
    said = _asked([compiler, "-config"])
    settings = dict(re.findall(r"^(\w+)=(.*)$", said, re.MULTILINE))
    folders = [settings[name] for name in ("COQLIB", "COQCORELIB") if settings.get(name)]
    if not folders:
        raise UsageError(f"{compiler} -config does not say where the library of Rocq is: {said[:200]!r}", hint=INSTALL)
    # Plugins are found by findlib, which reads its configuration and the descriptions beside Rocq's own.
    finder = settings.get("OCAMLFIND", "")
    configuration = _asked([finder, "printconf", "conf"]).strip() if os.access(finder, os.X_OK) else ""
    shown = (*folders, *(os.path.join(folder, os.pardir) for folder in folders), configuration)
    paths = (os.path.realpath(path) for path in shown if path and os.path.exists(path))
    return Installation(os.path.realpath(program), tuple(dict.fromkeys(paths)))


def _asked(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command[0]} cannot be started: {error}", hint=INSTALL) from error


class Rocq:
    """A checker of proofs that keeps its processes. ``open_rocq`` makes one. Any thread may use it."""

    def __init__(self, level: Level, workers: int) -> None:
        self._installation = installation()
        self._level = level
        self._pool = ThreadPoolExecutor(workers, "rocq")
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        first = self._pool.submit(self._worker).result()
        self.isolation: Level = first.isolation
        """How well the processes of Rocq are isolated."""
        self.version = self._pool.submit(first.version).result()
        """The version of Rocq, such as ``8.16.1``."""

    def check(self, theorem: Theorem, script: str, wall_s: float = 10.0) -> Future[CheckedProof]:
        """Begin to check a proof, which may take ``wall_s`` seconds, and return the future result.

        Raises ScriptError if the script holds anything but tactics. The future raises SandboxError if the checker cannot be run.
        """
        tactics = tactics_of(script)
        # The script cannot know this name, so it cannot state and prove another theorem under it.
        name = f"goal_{secrets.token_hex(8)}"
        request = {
            "do": "check",
            "name": name,
            "beginning": theorem.beginning,
            "statement": re.sub(rf"^(\w+\s+){re.escape(theorem.name)}\b", rf"\g<1>{name}", theorem.statement),
            "tactics": [sentence.text for sentence in tactics],
            "wall_s": wall_s,
        }

        def ask() -> CheckedProof:
            answer = self._worker().ask(request, wall_s + _GRACE_S)
            return _checked(answer, theorem, [(sentence.line, sentence.text) for sentence in tactics])

        return self._pool.submit(ask)

    def close(self) -> None:
        """End all processes. What waits is cancelled."""
        self._pool.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def _worker(self) -> _Worker:
        """Return the worker of the running thread."""
        if not hasattr(self._own, "worker"):
            self._own.worker = _Worker(self._installation, self._level)
            with self._lock:
                self._workers.append(self._own.worker)
        worker: _Worker = self._own.worker
        return worker


@contextmanager
def open_rocq(level: Level = "full", workers: int | None = None) -> Iterator[Rocq]:
    """Give a checker until the block ends, with as many processes as processors unless ``workers`` says otherwise.

    Raises UsageError if Rocq is not installed or too old, and SandboxError if its processes are isolated less well than ``level``.
    """
    rocq = Rocq(level, workers or n_processors())
    try:
        yield rocq
    finally:
        rocq.close()


class _Worker:
    """One confined process, started again if it is lost. A single thread uses it."""

    def __init__(self, where: Installation, level: Level) -> None:
        self._where, self._level = where, level
        self._stack = ExitStack()
        self._n = 0
        self._session = self._start()
        self.isolation = self._session.isolation

    def version(self) -> str:
        """Return the version of Rocq. Raises UsageError if it is too old to be spoken with."""
        answer = self.ask({"do": "version"}, _GRACE_S)
        version, protocol = str(answer.get("version", "")), str(answer.get("protocol", ""))
        if not version:
            raise SandboxError(f"{self._where.program} does not start: {answer.get('ended') or answer}")
        if protocol < OLDEST_PROTOCOL:
            raise UsageError(f"{self._where.program} is of version {version}; 8.15 or later is needed", hint=INSTALL)
        return version

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer to a request. It is asked once more if the process is lost. Raises SandboxError if it is lost again."""
        for _ in range(2):
            self._n += 1
            self._session.send(request | {"id": self._n})
            answer = self._session.receive(timeout_s)
            if answer is not None and answer.get("id") == self._n:
                return answer
            self._stack.close()
            self._session = self._start()
        raise SandboxError("the confined process that drives Rocq was lost twice while it checked a proof")

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> Session:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True))
        # A session counts its time from its start, so it is given a day, and started again after it.
        limits = CommandLimits(wall_s=_SESSION_S, cpu_s=_SESSION_S, memory_bytes=4 * MEMORY_BYTES, processes=16)
        return self._stack.enter_context(
            confined_session(
                [sys.executable, "-I", "-S", "-c", _BOOT, self._where.program, str(MEMORY_BYTES)],
                folder=folder,
                readable=[str(_SERVER.parent), *self._where.readable],
                programs=[self._where.program],
                limits=limits,
                level=self._level,
            )
        )


def _checked(answer: dict[str, Any], theorem: Theorem, tactics: list[tuple[int, str]]) -> CheckedProof:
    """Read the answer of the confined process. Raises SandboxError if it says that the theorem itself cannot be read."""
    wall_s = float(answer["seconds"])
    if answer["ended"]:
        return CheckedProof(answer["ended"], wall_s=wall_s)
    at = answer["at"]
    if at is None:
        return _unless_assumed(answer, theorem, wall_s)
    message = _without_environment(str(answer["message"]))
    if at < 1:
        raise UsageError(f"Rocq cannot read the theorem {theorem.name}: {message}")
    line, source = tactics[at - 1] if at <= len(tactics) else (0, "")
    goals = tuple(map(str, answer["goals"]))
    return CheckedProof(
        message=message, line=line, source=source, goals=goals, n_goals=answer["n_goals"], wall_s=wall_s
    )


def _without_environment(message: str) -> str:
    """Return a message on one line, without the hypotheses that it may begin with, since the goals show them."""
    lines = _IN_PROOF.sub("", message).splitlines()
    if lines and lines[0] == "In environment":
        del lines[0]
        while len(lines) > 1 and _HYPOTHESIS.match(lines[0]):
            del lines[0]
    return " ".join(" ".join(lines).split())


def _unless_assumed(answer: dict[str, Any], theorem: Theorem, wall_s: float) -> CheckedProof:
    """Return that the theorem is proved, unless its proof is not finished or uses axioms that are not allowed."""
    said = str(answer["assumptions"])
    if answer["open"]:
        return CheckedProof(message="the proof is not finished", wall_s=wall_s)
    if answer["admitted"]:
        return CheckedProof(message="the proof rests on something that was not proved", wall_s=wall_s)
    used = set() if said == NOTHING else set(_AXIOM.findall(said)) or {said[:200]}
    if refused := sorted(used - theorem.axioms):
        return CheckedProof(message=f"the proof rests on {', '.join(refused)}, which may not be assumed", wall_s=wall_s)
    return CheckedProof(proved=True, wall_s=wall_s)
