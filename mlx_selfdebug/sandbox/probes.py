"""Tries to escape, the way a hostile program would, inside a real run: what is stopped here is stopped.

Each probe comes with a positive control: the same code must succeed in a process that is not confined, else its failure would
prove nothing, and ``held`` is None.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.launch import Setup
from mlx_selfdebug.sandbox.processes.worker import Worker, WorkerError
from mlx_selfdebug.sandbox.wire.messages import Request

Group = Literal["files", "network", "processes", "limits"]
LIMITS = Limits(wall_s=0.5, cpu_s=1, memory_bytes=64 << 20)
CONTROL_S = 60.0


@dataclass(frozen=True)
class Probe:
    """``name`` says what a program tried; ``held``: it was stopped, None if the control did not get there either."""

    name: str
    group: Group
    held: bool | None


@dataclass(frozen=True)
class Findings:
    layers: Mapping[str, str]
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class _Attempt:
    """The body of a function of ``x`` that reaches its end only if the escape succeeds."""

    name: str
    group: Group
    body: str
    argument: str = ""


_ATTEMPTS = (
    _Attempt("read a file of the runner's", "files", "open(x['canary']).read()"),
    _Attempt("list the home folder", "files", "import os; os.listdir(x['home'])"),
    _Attempt("read installed packages", "files", "open(x['package']).read()"),
    _Attempt("write a file", "files", "open(x['folder'] + '/written', 'w').write('x')"),
    _Attempt("change a file's mode", "files", "import os; os.chmod(x['canary'], 0o600)"),
    _Attempt("connect by TCP", "network", "import socket; socket.create_connection(('127.0.0.1', x['tcp']), 5).close()"),
    _Attempt("send by UDP", "network", "import socket as s; s.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))"),
    _Attempt("connect to a local socket", "network", "import socket as s; s.socket(s.AF_UNIX).connect(x['unix'])"),
    _Attempt("start a process by fork", "processes", "import os\n    if os.fork() == 0: os._exit(0)"),
    _Attempt("start another program", "processes", "import os; os.waitpid(os.posix_spawn(x['python'], [x['python'], '-V'], {}, "
             "file_actions=[(os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0)]), 0)"),
    _Attempt("signal the runner", "processes", "import os; os.kill(x['pid'], 0)"),
    _Attempt("signal the process above it", "processes", "import os; os.kill(os.getppid() or 1 / 0, 0)"),
)  # fmt: skip
_LIMIT_ATTEMPTS = (
    _Attempt(
        "use twice the memory it may", "limits", f"import time; x = b'x' * {2 * LIMITS.memory_bytes}; time.sleep(0.1)"
    ),
    _Attempt("run longer than it may", "limits", "import time; time.sleep(3)"),
)


def probe(*, packages: tuple[str, ...] = (), without: frozenset[str] = frozenset()) -> Findings:
    """Raises SandboxError if no sandboxed process can be started."""
    worker = Worker(Setup(this_interpreter(packages), LIMITS, packages=packages, without=without))
    try:
        worker.start()
        with _targets() as targets:
            reached = _control(targets)
            tried = [
                Probe(a.name, a.group, _stopped(worker, a, targets) if a.name in reached else None) for a in _ATTEMPTS
            ]
            tried += [Probe(a.name, a.group, _stopped(worker, a, targets)) for a in _LIMIT_ATTEMPTS]
        return Findings(dict(worker.details), tuple(tried))
    except WorkerError as error:
        raise SandboxError(
            f"no sandboxed process can be started: {error}", hint="mlx-selfdebug needs a working python"
        ) from error
    finally:
        worker.close()


def _stopped(worker: Worker, attempt: _Attempt, targets: Mapping[str, object]) -> bool:
    """Anything but a right answer; that no answer came at all proves nothing and raises WorkerError."""
    checks = f"def check(candidate):\n    assert candidate({dict(targets)!r}) == 'reached'\n"
    request = Request(_source(attempt), "", "attempt", checks, "", b"", LIMITS.wall_s, LIMITS.output_bytes)
    return worker.run(request, shared=False).report.outcome != "passed"


def _source(attempt: _Attempt) -> str:
    return f"def attempt(x):\n    {attempt.body}\n    return 'reached'\n"


def _control(targets: Mapping[str, object]) -> frozenset[str]:
    """Names of the attempts that succeed in a process that is not confined."""
    program = (
        "import json, sys\n"
        "sources, x = json.loads(sys.stdin.read())\n"
        "reached = []\n"
        "for name, source in sources:\n"
        "    space = {}\n"
        "    try:\n"
        "        exec(source, space)\n"
        "        reached += [name] if space['attempt'](x) == 'reached' else []\n"
        "    except Exception:\n"
        "        pass\n"
        "print(json.dumps(reached))\n"
    )
    sources = [(attempt.name, _source(attempt)) for attempt in _ATTEMPTS]
    command = [sys.executable, "-S", "-s", "-P", "-B", "-c", program]
    text = json.dumps([sources, targets])
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=CONTROL_S, check=False)
    return frozenset(json.loads(done.stdout)) if done.returncode == 0 else frozenset()


@contextmanager
def _targets() -> Iterator[dict[str, object]]:
    """Things to reach: files, sockets that listen, a process."""
    with (
        tempfile.TemporaryDirectory(prefix="selfdebug-") as folder,
        socket.socket() as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        canary = Path(folder) / "canary"
        canary.write_text("canary", encoding="utf-8")
        for end in (tcp, udp):
            end.bind(("127.0.0.1", 0))
        unix.bind(f"{folder}/socket")
        tcp.listen(8)
        unix.listen(8)
        yield {
            "canary": str(canary),
            "folder": folder,
            "home": str(Path.home()) if os.environ.get("HOME") else "/",
            "package": __file__,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": f"{folder}/socket",
            "python": sys.executable,
            "pid": os.getpid(),
        }
