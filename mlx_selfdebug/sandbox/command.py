"""Run a command of a project confined, such as its test suite.

    from mlx_selfdebug.sandbox import run_confined

    done = run_confined([".venv/bin/python", "-m", "pytest"], folder="scratch/project")
    done.ending, done.exit_code, done.stdout

The command is a Python interpreter with its arguments. It can read the interpreter's installation, its virtual environment and
``readable``; it can write in ``folder``, ``writable`` and a private temporary folder; it can start its own interpreter and no other
program; it has no network unless that is allowed. It sees no home, no environment variables and no process of the outside. Everything
that it has started is gone when ``run_confined`` returns, and also if the calling program is killed.

Which limits are exact and which are looked after, and what is not covered, is said in README.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.reach import Reach, Writable, layout_of, virtual_environment
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.processes.confined import Command, Ending, Outcome, run

PREFIX = "selfdebug-command-"


@dataclass(frozen=True)
class Completed:
    """How a confined command ended."""

    ending: Ending
    """``exited``, ``killed``, ``timed_out``, ``output``, ``memory``, ``processes``, ``disk`` or ``policy``."""
    exit_code: int | None
    """The exit code of the command, or None if a signal ended it."""
    signal: int | None
    """The number of the signal that ended the command, or None if it exited."""
    reason: str
    """What ended the command, in a few words, unless it exited."""
    stdout: str
    """The end of what all its processes wrote to standard output, up to ``CommandLimits.tail_bytes``."""
    stderr: str
    output_bytes: int
    """The number of all bytes that were written to both."""
    wall_s: float
    cpu_s: float
    """Processor seconds of all its processes together."""
    peak_bytes: int
    """The most memory that its processes were seen to hold together."""
    in_force: frozenset[str]
    """The names of the confinement layers that were in force."""

    @property
    def succeeded(self) -> bool:
        """Whether the command ended by itself with exit code 0. A test suite that does so may still have cheated."""
        return self.ending == "exited" and self.exit_code == 0


@dataclass(frozen=True)
class Confinement:
    """What a command is given to reach, and the layers that it must have."""

    folder: str
    seen_at: str
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    network: bool = False
    without: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


def run_unprobed(
    argv: Sequence[str], confinement: Confinement, environment: Mapping[str, str], limits: CommandLimits
) -> Completed:
    """Run the command with the layers that this machine offers, without asking whether they suffice."""
    interpreter = _interpreter(argv)
    environment_folder = virtual_environment(interpreter)
    readable = (*confinement.readable, *([environment_folder] if environment_folder else []))
    with _temporary_folder() as temporary:
        reach = Reach(
            layout=_layout(interpreter),
            interpreter=interpreter,
            temporary=temporary,
            temporary_bytes=limits.temporary_bytes,
            readable=readable,
            writable=_writable(confinement, interpreter),
            network=confinement.network,
        )
        command = Command(
            argv=(interpreter, *argv[1:]),
            environment=_environment(interpreter, temporary) | dict(environment),
            folder=reach.writable[0].place,
            reach=reach,
            limits=limits,
            without=confinement.without,
            required=confinement.required,
        )
        return _completed(run(command))


def _completed(outcome: Outcome) -> Completed:
    return Completed(
        ending=outcome.ending,
        exit_code=outcome.status if outcome.status >= 0 else None,
        signal=-outcome.status if outcome.status < 0 else None,
        reason=outcome.reason,
        stdout=outcome.stdout.text(),
        stderr=outcome.stderr.text(),
        output_bytes=outcome.stdout.n_bytes + outcome.stderr.n_bytes,
        wall_s=outcome.wall_s,
        cpu_s=outcome.cpu_s,
        peak_bytes=outcome.peak_bytes,
        in_force=outcome.in_force,
    )


def _interpreter(argv: Sequence[str]) -> str:
    if not argv:
        raise ValueError("argv is empty; its first word must be the path of a Python interpreter")
    path = os.path.abspath(argv[0])
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise ValueError(f"argv[0] is {argv[0]!r}, which is no program; it must be the path of a Python interpreter")
    return path


@lru_cache(maxsize=16)
def _layout(interpreter: str) -> Layout:
    return layout_of(interpreter)


def _writable(confinement: Confinement, interpreter: str) -> tuple[Writable, ...]:
    folders = [os.path.realpath(path) for path in (confinement.folder, *confinement.writable)]
    for path in folders:
        _require_harmless(path, interpreter)
    return (
        Writable(folders[0], os.path.realpath(confinement.seen_at)),
        *(Writable(path, path) for path in folders[1:]),
    )


def _require_harmless(folder: str, interpreter: str) -> None:
    """Raise ValueError if it would be a mistake to let a command write in this folder."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; a command needs a folder in which it may write")
    home = os.path.realpath(os.path.expanduser("~"))
    for path, what in ((home, "the home folder"), (os.path.realpath(interpreter), "the interpreter")):
        if os.path.commonpath([path, folder]) == folder:
            raise ValueError(f"a command may not write in {folder}, which holds {what}; make a scratch copy of the project")


def _environment(interpreter: str, temporary: str) -> dict[str, str]:
    return {
        "HOME": os.path.join(temporary, "home"),
        "LC_ALL": "C.UTF-8",
        # Without /proc, the loader learns from this where libraries lie that are named relative to the interpreter.
        "LD_ORIGIN_PATH": os.path.dirname(os.path.realpath(interpreter)),
        "PATH": os.path.dirname(interpreter),
        "TMPDIR": temporary,
        "USER": "sandbox",
    }


@contextmanager
def _temporary_folder() -> Iterator[str]:
    folder = os.path.realpath(tempfile.mkdtemp(prefix=PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
