"""Start the interpreters that become zygotes and keepers.

Where Seatbelt or bubblewrap confines such a process before it starts, the command line made here runs it through that program.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_selfdebug.sandbox.confinement import bubblewrap, seatbelt
from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter
from mlx_selfdebug.sandbox.confinement.reach import Reach
from mlx_selfdebug.sandbox.confinement.roots import open_for
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
"""All environment variables of a zygote or a keeper."""
MAX_STDERR_BYTES = 4096
_FLAGS = ("-S", "-s", "-P", "-B")
"""Nothing installed is imported, the working folder is not on the search path, and no bytecode is written."""
# The package is loaded from its own folder, which is the first argument. The folder around it is not added to the search path. So
# it need not be readable, and nothing that lies in it can be imported in place of the standard library.
_BOOT = (
    "import sys; from importlib import util; folder = sys.argv[1]; del sys.argv[1:]; "
    "spec = util.spec_from_file_location('mlx_selfdebug', folder + '/__init__.py', submodule_search_locations=[folder]); "
    "package = sys.modules['mlx_selfdebug'] = util.module_from_spec(spec); spec.loader.exec_module(package); "
    "from mlx_selfdebug.sandbox.processes import MODULE; MODULE.main()"
)
_PACKAGE = Path(__file__).resolve().parents[2]
_OWN_FOLDERS, _OWN_FILES = ("machine", "sandbox", "values"), ("__init__.py",)
"""The parts of this package that the processes of the sandbox import."""


@dataclass(frozen=True)
class Setup:
    """The settings with which a zygote is started."""

    layout: Layout
    """The installation of the interpreter that runs the programs."""
    limits: Limits
    """The limits of each run."""
    folder: str = "/"
    """The working folder of programs, which should be empty, or ``/`` where programs can reach no such folder."""
    packages: tuple[str, ...] = ()
    """Names of the installed packages that programs and checks may import."""
    without: frozenset[str] = frozenset()
    """Names of confinement layers to leave out, for tests."""
    required: frozenset[str] = frozenset()
    """Names of layers that must be in force, since the probes found them in force. A zygote that lacks one is not used."""
    bubblewrap: bool = False
    """Whether bubblewrap makes the namespaces instead of the zygote."""

    def with_bubblewrap(self) -> Setup:
        """Return the same settings for a zygote whose namespaces bubblewrap makes."""
        return replace(self, folder="/", without=self.without | {"namespaces"}, bubblewrap=True)


@dataclass(frozen=True)
class Launched:
    """A process that was started, and its standard error."""

    pid: int
    stderr: int
    """The descriptor from which the standard error of the process can be read."""

    def read_stderr(self) -> str:
        """Return what the process has written to its standard error so far, without waiting for more."""
        os.set_blocking(self.stderr, False)
        try:
            return os.read(self.stderr, MAX_STDERR_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""


def launch(setup: Setup, control: socket.socket) -> Launched:
    """Start a zygote that has ``control`` as its descriptor 0. Raises OSError if that fails."""
    reading, writing = os.pipe()
    try:
        pid = spawn(zygote_command(setup), ENVIRONMENT, (control.fileno(), None, writing))
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return Launched(pid, reading)


def spawn(words: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int | None]) -> int:
    """Start a process that gets copies of ``descriptors`` as its own 0, 1, 2 and so on, and return its number.

    None stands for the null device. Raises OSError if the process cannot be started.
    """
    # If this program has closed its own descriptors 0 to 2, one of the given ones may have such a number, and would be overwritten
    # before it is copied. So all are first copied to numbers from 10 on.
    copies = [None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in descriptors]
    actions = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) if fd is None else (os.POSIX_SPAWN_DUP2, fd, number)
        for number, fd in enumerate(copies)
    ]
    try:
        return os.posix_spawn(
            words[0],
            list(words),
            environment,
            file_actions=actions,
            # The process must not inherit that this program blocks or ignores a signal.
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGXCPU, signal.SIGPIPE],
        )
    finally:
        for fd in copies:
            if fd is not None:
                os.close(fd)


def boot(layout: Layout, module: str) -> list[str]:
    """Return the command line of an interpreter that runs ``main`` of a module in this folder."""
    return [layout.executable, *_FLAGS, "-c", _BOOT.replace("MODULE", module), str(_PACKAGE)]


def zygote_command(setup: Setup) -> list[str]:
    """Return the command line that starts a zygote, with that of Seatbelt or bubblewrap around it where one of them is used."""
    inner = boot(setup.layout, "zygote")
    if sys.platform == "darwin" and "seatbelt" not in setup.without:
        return seatbelt.command(with_own_code(setup.layout), inner, executables=[setup.layout.executable])
    if setup.bubblewrap:
        program = shutil.which("bwrap") or "bwrap"
        return bubblewrap.command(with_own_code(setup.layout), inner, program=program, environment=ENVIRONMENT)
    return inner


def keeper_command(reach: Reach, *, in_bubblewrap: bool) -> list[str]:
    """Return the command line that starts the keeper of a confined command.

    With ``in_bubblewrap``, it is the command line of bubblewrap, which starts the keeper in namespaces.
    """
    layout = this_interpreter()
    inner = boot(layout, "keeper")
    if not in_bubblewrap:
        return inner
    own = with_own_code(layout)
    needed = (
        *own.stdlib,
        *own.libraries,
        *own.packages,
        own.executable,
        *(str(_PACKAGE / name) for name in _OWN_FILES),
    )
    root = open_for(replace(reach, readable=(*reach.readable, *needed)))
    return bubblewrap.command_for(root, inner, program=shutil.which("bwrap") or "bwrap", environment=ENVIRONMENT)


def start_failure(setup: Setup, status: int | None, stderr: str) -> str:
    """Return a message that tells the user why a zygote ended before it was ready.

    ``status`` is its exit status, or None if that is not known, and ``stderr`` is what it wrote to its standard error.
    """
    if sys.platform == "darwin" and status is not None:
        return seatbelt.start_failure(status, stderr, setup.layout.executable)
    last_line = (stderr.strip().splitlines()[-1:] or ["no message"])[0]
    return f"{zygote_command(setup)[0]} ended with status {status} before it was ready: {last_line}"


def with_own_code(layout: Layout) -> Layout:
    """Return the layout with the sandbox's own code added.

    A process that is confined before it starts needs this to load its code. The tasks, which lie beside that code, stay hidden.
    """
    return replace(
        layout,
        packages=(*layout.packages, *(str(_PACKAGE / name) for name in _OWN_FOLDERS)),
        files=(*layout.files, *(str(_PACKAGE / name) for name in _OWN_FILES)),
    )
