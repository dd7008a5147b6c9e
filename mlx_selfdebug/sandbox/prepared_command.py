"""Turn a ``CommandRequest``, which a caller makes, into a ``Command``, which ``processes/confined.py`` runs.

The paths and variables of the request are checked here. The command then gets a private folder for temporary files, its
environment variables, and the list of everything that it may read, write and start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.reach import Reach, Writable, layout_of, virtual_environment
from mlx_selfdebug.sandbox.limits import CommandLimits
from mlx_selfdebug.sandbox.owned_folders import default_parent, owned_folder
from mlx_selfdebug.sandbox.processes.outcome import Command


@dataclass(frozen=True)
class CommandRequest:
    """What a caller wants to run, and what the command may reach."""

    argv: tuple[str, ...]
    """The path of a Python interpreter and its arguments."""
    folder: str
    """The working folder, in which the command may write."""
    seen_at: str = ""
    """The path at which the command sees the working folder, or an empty text for the folder's own path."""
    readable: tuple[str, ...] = ()
    """Further files and folders that the command may read."""
    programs: tuple[str, ...] = ()
    """The programs that the command may start besides its interpreter."""
    writable: tuple[str, ...] = ()
    """Further folders in which the command may write."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are added to those of every command, or replace them."""
    limits: CommandLimits = field(default_factory=CommandLimits)
    network: bool = False
    """Whether the command may use the network of this machine."""
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests."""
    required: frozenset[str] = frozenset()
    """Names of layers that must be in force."""
    bubblewrap: bool = False
    """Whether bubblewrap makes the namespaces, and not this package."""


@contextmanager
def prepare_command(request: CommandRequest) -> Iterator[Command]:
    """Yield the command for a request. Its private folder exists until the block ends.

    Raises ValueError if a path of the request does not exist, if a writable folder holds the home folder or the interpreter, or
    if the request sets a variable that no environment can hold.
    """
    interpreter = interpreter_of(request.argv)
    layout, writable = _layout(interpreter), _writable(request, interpreter)
    with owned_folder(default_parent(), "command") as temporary:
        reach = Reach(
            layout=layout,
            interpreter=interpreter,
            temporary=str(temporary),
            temporary_bytes=request.limits.temporary_bytes,
            readable=_readable(request, interpreter),
            programs=_programs(request),
            writable=writable,
            network=request.network,
        )
        yield Command(
            argv=(interpreter, *request.argv[1:]),
            environment=_base_environment(interpreter, str(temporary)) | _checked_environment(request.environment),
            folder=writable[0].place,
            reach=reach,
            limits=request.limits,
            without=request.without,
            required=request.required,
            bubblewrap=request.bubblewrap,
        )


def interpreter_of(argv: Sequence[str]) -> str:
    """Return the absolute path of the interpreter that the command starts, without following links.

    A link in a virtual environment has to stay as it is, since an interpreter knows its environment by the path that starts it.
    Raises ValueError if there is no program at this path.
    """
    if not argv:
        raise ValueError("argv is empty; its first word must be the path of a Python interpreter")
    path = os.path.abspath(argv[0])
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise ValueError(f"argv[0] is {argv[0]!r}, which is not a program; it must be the path of a Python interpreter")
    return path


@lru_cache(maxsize=16)
def _layout(interpreter: str) -> Layout:
    """Return the layout of an interpreter. It is started once to find that out, and the answer is kept for later commands."""
    return layout_of(interpreter)


def _readable(request: CommandRequest, interpreter: str) -> tuple[str, ...]:
    """Return what the command may read besides the interpreter. Raises ValueError if a path does not exist."""
    environment = virtual_environment(interpreter)
    paths = [os.path.abspath(path) for path in (*request.readable, *([environment] if environment else []))]
    for path in paths:
        if not os.path.exists(path):
            raise ValueError(f"{path} does not exist, so a command cannot be allowed to read it")
    return tuple(paths)


def _programs(request: CommandRequest) -> tuple[str, ...]:
    """Return the programs that the command may start besides its interpreter. Raises ValueError for a path that is no program."""
    paths = tuple(os.path.abspath(path) for path in request.programs)
    for path in paths:
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise ValueError(f"{path} is not a program, so a command cannot be allowed to start it")
    return paths


def _writable(request: CommandRequest, interpreter: str) -> tuple[Writable, ...]:
    """Return the folders in which the command may write. The first is its working folder.

    Raises ValueError for a folder in which it must not write.
    """
    folders = [os.path.realpath(path) for path in (request.folder, *request.writable)]
    for path in folders:
        _require_safe_to_write(path, interpreter)
    place = os.path.realpath(request.seen_at) if request.seen_at else folders[0]
    return Writable(folders[0], place), *(Writable(path, path) for path in folders[1:])


def _require_safe_to_write(folder: str, interpreter: str) -> None:
    """Raise ValueError unless ``folder`` is an existing folder that is and holds neither the home folder nor the interpreter."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder; a command needs a folder in which it may write")
    home = os.path.realpath(os.path.expanduser("~"))
    # In a virtual environment, the interpreter is a link to another one, and its folder may be reached through a link as well.
    in_its_folder = os.path.join(os.path.realpath(os.path.dirname(interpreter)), os.path.basename(interpreter))
    programs = [interpreter, in_its_folder, os.path.realpath(interpreter)]
    for path, description in ((home, "the home folder"), *((path, "the interpreter") for path in programs)):
        if os.path.commonpath([path, folder]) == folder:
            raise ValueError(
                f"a command may not write in {folder}, which holds {description}; make a scratch copy of the project"
            )


def _checked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables. Raises ValueError for a name or value that an environment cannot hold."""
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(
                f"environment holds {name!r}: {value!r}; a name may not be empty or hold '=', and neither may hold a null"
            )
    return dict(environment)


def _base_environment(interpreter: str, temporary: str) -> dict[str, str]:
    """Return the variables that every command gets. It gets none of the variables of this process."""
    return {
        "HOME": os.path.join(temporary, "home"),
        "LC_ALL": "C.UTF-8",
        # Where there is no /proc, the loader needs this to find libraries that are named relative to the interpreter.
        "LD_ORIGIN_PATH": os.path.dirname(os.path.realpath(interpreter)),
        "PATH": os.path.dirname(interpreter),
        "TMPDIR": temporary,
        "USER": "sandbox",
    }
