"""Starts the interpreter that becomes a zygote, inside what this system confines a whole process with."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_selfdebug.sandbox.confinement import bubblewrap, seatbelt
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.limits import Limits

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
}
MAX_STDERR_BYTES = 4096
_FLAGS = ("-S", "-s", "-P", "-B")
# The package is found by a path at the end of the list, so that nothing beside it can stand in for the standard library.
_BOOT = (
    "import sys; path = sys.argv[1]; sys.path.append(path); from mlx_selfdebug.sandbox.processes import zygote; "
    "sys.path.remove(path); del sys.argv[1:]; zygote.main()"
)
_PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Setup:
    """What a zygote is started with. ``folder``: an empty one, where programs start unless they are kept from all folders;
    ``without``: layers to leave out, for tests; ``bubblewrap``: it makes the namespaces.
    """

    layout: Layout
    limits: Limits
    folder: str = "/"
    packages: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    bubblewrap: bool = False


@dataclass(frozen=True)
class Launched:
    """``stderr`` is the reading end of a pipe."""

    pid: int
    stderr: int

    def said(self) -> str:
        """What has come on stderr so far."""
        os.set_blocking(self.stderr, False)
        try:
            return os.read(self.stderr, MAX_STDERR_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""


def launch(setup: Setup, control: socket.socket) -> Launched:
    """The new process has ``control`` as its descriptor 0. Raises OSError."""
    words = command(setup)
    reading, writing = os.pipe()
    # Descriptors 0 to 2 are targets below; a program that closed its own may have been given one of them.
    fd = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, 10)
    stderr = fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        pid = os.posix_spawn(
            words[0],
            words,
            ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGXCPU, signal.SIGPIPE],
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        for end in (fd, stderr, writing):
            os.close(end)
    return Launched(pid, reading)


def command(setup: Setup) -> list[str]:
    """The whole command line."""
    inner = [setup.layout.executable, *_FLAGS, "-c", _BOOT, str(_PACKAGE.parent)]
    if sys.platform == "darwin" and "seatbelt" not in setup.without:
        return seatbelt.command(_with_own_code(setup.layout), inner, executables=[setup.layout.executable])
    if setup.bubblewrap:
        program = shutil.which("bwrap") or "bwrap"
        return bubblewrap.command(_with_own_code(setup.layout), inner, program=program, environment=ENVIRONMENT)
    return inner


def start_failure(setup: Setup, status: int | None, said: str) -> str:
    """Why a process ended before it was ready, for the user."""
    if sys.platform == "darwin" and status is not None:
        return seatbelt.start_failure(status, said, setup.layout.executable)
    last = said.strip().splitlines()[-1:] or ["no message"]
    return f"{command(setup)[0]} ended with status {status}: {last[0]}"


def _with_own_code(layout: Layout) -> Layout:
    """Where the walls stand before the zygote does, it must see its own code; but not the tasks beside it."""
    return replace(
        layout,
        packages=(*layout.packages, str(_PACKAGE / "sandbox")),
        files=(*layout.files, str(_PACKAGE / "__init__.py")),
    )
