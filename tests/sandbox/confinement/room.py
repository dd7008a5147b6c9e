"""Starts a confined zygote and asks it to run probes, each in a child of its own. The test process itself is never confined."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx_selfdebug
from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter

NOBODY = 65534
_FOLDER = Path(mlx_selfdebug.__file__).parent / "sandbox/confinement"
_PACKAGE = "mlx_selfdebug.sandbox.confinement"
# Each after what it imports.
_MODULES = (
    "syscalls",
    "bpf",
    "policy",
    "command_policy",
    "kernel",
    "capabilities",
    "layout",
    "reach",
    "roots",
    "process_limit",
    "landlock",
    "namespaces",
    "seccomp",
    "linux",
)


def sources() -> list[tuple[str, str | None]]:
    packages = [("mlx_selfdebug", None), ("mlx_selfdebug.sandbox", None), (_PACKAGE, None)]
    return packages + [(f"{_PACKAGE}.{name}", (_FOLDER / f"{name}.py").read_text("utf-8")) for name in _MODULES]


class Room:
    """One zygote with its answers on ``layers``, ``details`` and ``cost_ms``."""

    def __init__(
        self,
        without: Collection[str] = (),
        *,
        names: dict[str, Any] | None = None,
        layout: Layout | None = None,
        path: Sequence[str] = (),
        user: int | None = None,
        wrap: Callable[[list[str]], list[str]] = list,
        abi: int = 0,
    ) -> None:
        layout = layout or this_interpreter()
        ours, theirs = socket.socketpair()
        command = [layout.executable, "-S", "-s", "-P", "-B", "-c", _ZYGOTE, str(theirs.fileno())]
        identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self.process = subprocess.Popen(
            wrap(command),
            pass_fds=[theirs.fileno()],
            env={"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("ROOM_DEBUG") else subprocess.DEVNULL,
            **identity,
        )
        theirs.close()
        ours.settimeout(60)
        self._stream = ours.makefile("rw", encoding="utf-8")
        ours.close()
        config = {
            "sources": sources(),
            "layout": asdict(layout),
            "path": list(path),
            "without": sorted(without),
            "abi": abi,
        }
        first = self._ask(config | {"names": names or {}})
        self.layers, self.details = tuple(first["layers"]), first["details"]
        self.fds, self.control = first["fds"], int(command[-1])
        self.cost_ms, self.pid = first["cost_ms"], first["pid"]

    def run(self, source: str) -> str:
        """``ok`` and what the probe left in ``result``; or the error's name, or the signal that ended it."""
        answer = self._ask({"source": source})
        self.grader_ended_by = os.WTERMSIG(answer["grader"])
        return str(answer["outcome"])

    def start(self, source: str, *, here: str = "pass") -> None:
        """Have a probe run, without waiting for it; ``here`` is run in the zygote itself before."""
        self._stream.write(json.dumps({"source": source, "here": here}) + "\n")
        self._stream.flush()

    def close(self) -> int:
        self._stream.close()
        return self.process.wait(20)

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise AssertionError(f"the zygote ended with {self.process.wait(20)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


_ZYGOTE = (Path(__file__).parent / "zygote.py").read_text("utf-8")


@contextmanager
def outside() -> Iterator[dict[str, Any]]:
    """What a probe may try to reach: a folder anyone may write, a canary, sockets of all kinds, a process."""
    folder = tempfile.mkdtemp(prefix="outside-")
    os.chmod(folder, 0o777)
    for name in ("canary", "victim"):
        Path(folder, name).write_text("secret")
        os.chmod(Path(folder, name), 0o666)
    abstract = f"\0selfdebug-{os.getpid()}"
    sockets = [_listening(socket.AF_INET, ("127.0.0.1", 0)), _listening(socket.AF_UNIX, f"{folder}/socket")]
    sockets.append(_listening(socket.AF_UNIX, abstract))
    os.chmod(f"{folder}/socket", 0o777)
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        yield {
            "FOLDER": folder,
            "PORT": sockets[0].getsockname()[1],
            "ABSTRACT": abstract,
            "OUTSIDER": sleeper.pid,
        }
    finally:
        sleeper.kill()
        sleeper.wait()
        for each in sockets:
            each.close()
        shutil.rmtree(folder, ignore_errors=True)


def _listening(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(512)
    return listener
