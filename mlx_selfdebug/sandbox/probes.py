"""Try to escape from a real run, the way a hostile program would, and report which attempts were stopped.

Each attempt to escape has a positive control: the same code must succeed in a process that is not confined. Where it does not,
its failure inside the sandbox would prove nothing, and ``held`` is None. The attempts against limits need no control, since what
would happen without a limit is known.
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
"""What an attempt is directed against."""
LIMITS = Limits(wall_s=0.5, cpu_s=1, memory_bytes=64 << 20)
"""The limits of each attempt. They are small, so that the attempts to exceed them are over quickly."""
CONTROL_TIMEOUT_S = 60.0
"""Seconds that the control, which runs all attempts without confinement, may take."""


@dataclass(frozen=True)
class Probe:
    """The result of one attempt."""

    name: str
    """What the program tried to do, such as "write a file"."""
    group: Group
    held: bool | None
    """Whether the sandbox stopped the attempt, or None if the attempt fails outside of the sandbox too, which proves nothing."""


@dataclass(frozen=True)
class Findings:
    """What the probes have found out about one kind of sandboxed process."""

    layers: Mapping[str, str]
    """A few words on each confinement layer, keyed by the layer's name."""
    in_force: frozenset[str]
    """The names of the layers that are in force."""
    probes: tuple[Probe, ...]
    """The result of every attempt."""


@dataclass(frozen=True)
class Attempt:
    """An attempt to escape."""

    name: str
    """What is attempted, such as "write a file"."""
    group: Group
    code: str
    """Statements that run to their end only if the escape succeeds. ``x`` holds what there is to reach (see ``open_targets``)."""


# Each attempt is the body of a function with the parameter ``x``, so all its lines but the first are indented by four spaces. In
# ``socket(2, 2)``, the numbers are AF_INET and SOCK_DGRAM. ``getppid`` returns 0 if the process cannot see its parent. The
# attempt then fails with ZeroDivisionError, since ``kill(0, 0)`` would succeed: 0 stands for the process's own group.
_ATTEMPTS = (
    Attempt("read one of the runner's files", "files", "open(x['canary']).read()"),
    Attempt("list the home folder", "files", "import os; os.listdir(x['home'])"),
    Attempt("read installed packages", "files", "open(x['package']).read()"),
    Attempt("write a file", "files", "open(x['folder'] + '/written', 'w').write('x')"),
    Attempt("change a file's mode", "files", "import os; os.chmod(x['canary'], 0o600)"),
    Attempt("connect over TCP", "network", "import socket; socket.create_connection(('127.0.0.1', x['tcp']), 5).close()"),
    Attempt("send over UDP", "network", "import socket as s; s.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))"),
    Attempt("connect to a local socket", "network", "import socket as s; s.socket(s.AF_UNIX).connect(x['unix'])"),
    Attempt("start a process by fork", "processes", "import os\n    if os.fork() == 0: os._exit(0)"),
    Attempt("start another program", "processes", "import os; os.waitpid(os.posix_spawn(x['python'], [x['python'], '-V'], {}, "
            "file_actions=[(os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0)]), 0)"),
    Attempt("signal the runner", "processes", "import os; os.kill(x['pid'], 0)"),
    Attempt("signal its parent process", "processes", "import os; os.kill(os.getppid() or 1 / 0, 0)"),
)  # fmt: skip
_LIMIT_ATTEMPTS = (
    Attempt(
        "use twice its memory limit", "limits", f"import time; x = b'x' * {2 * LIMITS.memory_bytes}; time.sleep(0.1)"
    ),
    Attempt("run past its time limit", "limits", "import time; time.sleep(3)"),
)


def probe(*, packages: tuple[str, ...] = (), without: frozenset[str] = frozenset()) -> Findings:
    """Make every attempt in a sandboxed process and return the results.

    ``packages`` names the installed packages that programs may import, and ``without`` names layers to leave out. Raises
    SandboxError if no sandboxed process can be started.
    """
    worker = Worker(Setup(this_interpreter(packages), LIMITS, packages=packages, without=without))
    try:
        worker.start()
        with open_targets() as targets:
            reached = _reached_unconfined(targets)
            probes = []
            for attempt in (*_ATTEMPTS, *_LIMIT_ATTEMPTS):
                is_known = attempt.name in reached or attempt in _LIMIT_ATTEMPTS
                held = _is_stopped(worker, attempt, targets) if is_known else None
                probes.append(Probe(attempt.name, attempt.group, held))
        return Findings(dict(worker.details), frozenset(worker.layers), tuple(probes))
    except WorkerError as error:
        raise SandboxError(
            f"no sandboxed process can be started: {error}", hint="mlx-selfdebug needs a working Python interpreter"
        ) from error
    finally:
        worker.close()


def _is_stopped(worker: Worker, attempt: Attempt, targets: Mapping[str, object]) -> bool:
    """Make the attempt in a sandboxed process, and return whether it failed to reach its end.

    Raises WorkerError if the machine could not make the run, since that proves nothing.
    """
    checks = f"def check(candidate):\n    assert candidate({dict(targets)!r}) == 'reached'\n"
    request = Request(_source(attempt), "", "attempt", checks, "", b"", LIMITS.wall_s, LIMITS.output_bytes)
    return worker.run(request, shared=False).report.outcome != "passed"


def _source(attempt: Attempt) -> str:
    return f"def attempt(x):\n    {attempt.code}\n    return 'reached'\n"


def _reached_unconfined(targets: Mapping[str, object]) -> frozenset[str]:
    """Return the names of the attempts that succeed in a process that is not confined."""
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
    control = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=CONTROL_TIMEOUT_S, check=False
    )
    return frozenset(json.loads(control.stdout)) if control.returncode == 0 else frozenset()


@contextmanager
def open_targets() -> Iterator[dict[str, object]]:
    """Make the files and sockets that the attempts try to reach, and yield how to reach them, and this process, as a dictionary.

    The keys are ``canary``, ``victim`` and ``doomed`` for files, ``folder``, ``home`` and ``package`` for other paths, ``tcp`` and
    ``udp`` for ports, ``unix`` for a socket, ``python`` for the interpreter and ``pid`` for the number of this process.
    """
    with (
        tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True) as name,
        socket.socket() as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        folder = os.path.realpath(name)
        for file in ("canary", "victim", "doomed"):
            Path(folder, file).write_text("canary", encoding="utf-8")
        for server in (tcp, udp):
            server.bind(("127.0.0.1", 0))
        unix.bind(f"{folder}/socket")
        tcp.listen(8)
        unix.listen(8)
        yield {
            **{file: f"{folder}/{file}" for file in ("canary", "victim", "doomed")},
            "folder": folder,
            "home": str(Path.home()) if os.environ.get("HOME") else "/",
            "package": __file__,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": f"{folder}/socket",
            "python": sys.executable,
            "pid": os.getpid(),
        }
