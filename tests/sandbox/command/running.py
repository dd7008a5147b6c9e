"""Runs the corpus with things outside that must stay as they are, and says what did not go as it must. Needs no pytest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.sandbox import Completed, run_confined
from mlx_selfdebug.sandbox.command_probes import is_released
from mlx_selfdebug.sandbox.owned_folders import remove_tree
from tests.sandbox.command.corpus import ROOMY, Hostile

SECRET = "selfdebug-secret-of-the-caller"
ROOMIER = replace(ROOMY, disk_bytes=256 << 20, files=4000)
_PRELUDE = """
import json, os, shutil, sys
x = json.loads(sys.argv[1])
"""
# Each attempt has a process and a folder of its own; its exit code is 0 only if it got to its end.
_ATTEMPTS = """
sources = json.loads(sys.stdin.read() or open("attempts.json").read())
x["folder"] = os.getcwd()
statuses = {}
for number, (name, source) in enumerate(sources):
    os.mkdir(str(number))
    pid = os.fork()
    if not pid:
        try:
            os.chdir(str(number))
            exec(source)
            os._exit(0)
        finally:
            os._exit(1)
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps(statuses))
"""


class Outside:
    """Files, sockets and a process that a command may try to reach, and whether anything has happened to them."""

    def __init__(self) -> None:
        self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="outside-")))
        self.folder.chmod(0o777)
        (self.folder / "home/.ssh").mkdir(parents=True)
        (self.folder / "project").mkdir()
        for name in ("canary", "victim", "home/.ssh/id_ed25519", "project/test_original.py"):
            (self.folder / name).write_text("untouched")
            (self.folder / name).chmod(0o666)
        abstract = self.folder.name
        self.sockets = [
            _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            _bound(socket.AF_UNIX, socket.SOCK_STREAM, f"{self.folder}/socket"),
            _bound(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(3600)"], stdout=subprocess.DEVNULL
        )
        self.names: dict[str, Any] = {
            "outside": str(self.folder),
            "home": f"{self.folder}/home",
            "canary": f"{self.folder}/canary",
            "victim": f"{self.folder}/victim",
            "project": f"{self.folder}/project",
            "tcp": self.sockets[0].getsockname()[1],
            "udp": self.sockets[1].getsockname()[1],
            "unix": f"{self.folder}/socket",
            "abstract": abstract,
            "pid": self.process.pid,
        }
        os.environ["SELFDEBUG_SECRET"] = SECRET
        self._before = self._state()

    def changes(self) -> list[str]:
        """What has happened to the things outside, in words."""
        found = [] if self._state() == self._before else ["the files outside have changed"]
        found += [f"the socket {server.getsockname()!r} was reached" for server in self.sockets if _was_reached(server)]
        return found + ([] if self.process.poll() is None else ["the process outside has ended"])

    def close(self) -> None:
        os.environ.pop("SELFDEBUG_SECRET", None)
        self.process.kill()
        self.process.wait()
        for server in self.sockets:
            server.close()
        remove_tree(self.folder)

    def _state(self) -> list[tuple[object, ...]]:
        paths = sorted(self.folder.rglob("*"))
        return [(path, *_facts(path), path.read_text() if path.is_file() else "") for path in paths]


def _facts(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_mtime_ns, found.st_ctime_ns


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    server = socket.socket(family, kind)
    server.bind(address)
    if kind == socket.SOCK_STREAM:
        server.listen(8)
    server.setblocking(False)
    return server


def _was_reached(server: socket.socket) -> bool:
    try:
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@contextmanager
def outside() -> Iterator[Outside]:
    found = Outside()
    try:
        yield found
    finally:
        found.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed whatever has been made in it."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="scratch-")))
    try:
        yield folder
    finally:
        remove_tree(folder)


def statuses_of(attempts: Sequence[Hostile], python: str, there: Outside, **options: Any) -> dict[str, int]:
    """Make all attempts in one confined command, and return the exit code of each, or the negative number of its signal."""
    with scratch_folder() as folder:
        (folder / "attempts.json").write_text(json.dumps([(each.name, each.source) for each in attempts]))
        argv = [python, "-S", "-c", _PRELUDE + _ATTEMPTS, json.dumps(there.names)]
        done = run_confined(argv, folder=folder, limits=ROOMIER, **options)
    assert done.succeeded, done
    return dict(json.loads(done.stdout))


def statuses_unconfined(attempts: Sequence[Hostile], python: str, there: Outside) -> dict[str, int]:
    """Make the attempts in a process that is not confined. Only such may be given as do no harm beyond ``there``."""
    sources = json.dumps([(each.name, each.source) for each in attempts])
    argv = [python, "-S", "-c", _PRELUDE + _ATTEMPTS, json.dumps(there.names)]
    with scratch_folder() as folder:
        done = subprocess.run(argv, cwd=folder, input=sources, capture_output=True, text=True, timeout=120, check=True)
    return dict(json.loads(done.stdout))


def not_contained(attempts: Sequence[Hostile], statuses: dict[str, int]) -> dict[str, int]:
    """The attempts that got out or did not end as they have to."""
    return {each.name: statuses[each.name] for each in attempts if _ending(statuses[each.name]) not in each.endings}


def _ending(status: int) -> str:
    return "escaped" if status == 0 else "exited" if status > 0 else "policy" if status == -signal.SIGSYS else "killed"


def run(hostile: Hostile, python: str, there: Outside, **options: Any) -> tuple[str, ...]:
    """Run a hostile program in a folder of its own, and return what was wrong about how it ended."""
    with scratch_folder() as folder:
        argv = [python, "-S", "-c", _PRELUDE + hostile.source, json.dumps(there.names)]
        done = run_confined(argv, folder=folder, limits=hostile.limits, **options)
        return tuple(_wrong(hostile, done, folder))


def _wrong(hostile: Hostile, done: Completed, folder: Path) -> Iterator[str]:
    if done.ending not in hostile.endings:
        said = done.stderr[-300:]
        yield f"it ended with {done.ending} ({done.reason}), not {' or '.join(sorted(hostile.endings))}: {said}"
    if (folder / "held").exists() and not is_released(folder / "held"):
        yield "a process of it is still there"


def run_all(
    corpus: Sequence[Hostile], python: str, there: Outside, **options: Any
) -> dict[str, Future[tuple[str, ...]]]:
    """Run all programs, two at a time. Each future gives what was wrong with one."""
    with ThreadPoolExecutor(2) as pool:
        return {hostile.name: pool.submit(run, hostile, python, there, **options) for hostile in corpus}
