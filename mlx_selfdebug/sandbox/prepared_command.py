"""Turn what a caller wants to run into a command that can be confined: what it reaches, its environment, its private folder."""

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
class Wanted:
    """What a caller wants to run, and what it lets the command reach."""

    argv: tuple[str, ...]
    folder: str
    """The working folder, in which the command may write."""
    seen_at: str = ""
    """The path at which the command sees the working folder; its own path if this is empty."""
    readable: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    """The programs that the command may start beside its interpreter."""
    writable: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: CommandLimits = field(default_factory=CommandLimits)
    network: bool = False
    without: frozenset[str] = frozenset()
    """Names of layers to leave out, for tests."""
    required: frozenset[str] = frozenset()
    """Names of layers that must be in force."""
    bubblewrap: bool = False
    """Whether bubblewrap makes the namespaces."""


@contextmanager
def prepared(wanted: Wanted) -> Iterator[Command]:
    """Give the command that is wanted, whose private folder exists until the block ends.

    Raises ValueError if something is wanted that does not exist or would be a mistake.
    """
    interpreter = interpreter_of(wanted.argv)
    layout, writable = _layout(interpreter), _writable(wanted, interpreter)
    with owned_folder(default_parent(), "command") as temporary:
        reach = Reach(
            layout=layout,
            interpreter=interpreter,
            temporary=str(temporary),
            temporary_bytes=wanted.limits.temporary_bytes,
            readable=_readable(wanted, interpreter),
            programs=_programs(wanted),
            writable=writable,
            network=wanted.network,
        )
        yield Command(
            argv=(interpreter, *wanted.argv[1:]),
            environment=_environment(interpreter, str(temporary)) | _checked(wanted.environment),
            folder=writable[0].place,
            reach=reach,
            limits=wanted.limits,
            without=wanted.without,
            required=wanted.required,
            bubblewrap=wanted.bubblewrap,
        )


def interpreter_of(argv: Sequence[str]) -> str:
    """Return the absolute path of the interpreter that the command starts, with links unresolved.

    Raises ValueError if it is no program.
    """
    if not argv:
        raise ValueError("argv is empty; its first word must be the path of a Python interpreter")
    path = os.path.abspath(argv[0])
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise ValueError(f"argv[0] is {argv[0]!r}, which is no program; it must be the path of a Python interpreter")
    return path


@lru_cache(maxsize=16)
def _layout(interpreter: str) -> Layout:
    return layout_of(interpreter)


def _readable(wanted: Wanted, interpreter: str) -> tuple[str, ...]:
    environment = virtual_environment(interpreter)
    names = [os.path.abspath(path) for path in (*wanted.readable, *([environment] if environment else []))]
    for name in names:
        if not os.path.exists(name):
            raise ValueError(f"{name} does not exist, so a command cannot be allowed to read it")
    return tuple(names)


def _programs(wanted: Wanted) -> tuple[str, ...]:
    names = tuple(os.path.abspath(path) for path in wanted.programs)
    for name in names:
        if not os.access(name, os.X_OK) or os.path.isdir(name):
            raise ValueError(f"{name} is no program, so a command cannot be allowed to start it")
    return names


def _writable(wanted: Wanted, interpreter: str) -> tuple[Writable, ...]:
    folders = [os.path.realpath(path) for path in (wanted.folder, *wanted.writable)]
    for path in folders:
        _require_harmless(path, interpreter)
    place = os.path.realpath(wanted.seen_at) if wanted.seen_at else folders[0]
    return Writable(folders[0], place), *(Writable(path, path) for path in folders[1:])


def _checked(environment: Mapping[str, str]) -> dict[str, str]:
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(
                f"environment holds {name!r}: {value!r}; a name may not be empty or hold '=', and neither may hold a null"
            )
    return dict(environment)


def _require_harmless(folder: str, interpreter: str) -> None:
    """Raise ValueError if it would be a mistake to let a command write in this folder."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder; a command needs a folder in which it may write")
    home = os.path.realpath(os.path.expanduser("~"))
    programs = [(path, "the interpreter") for path in (interpreter, os.path.realpath(interpreter))]
    for path, what in ((home, "the home folder"), *programs):
        if os.path.commonpath([path, folder]) == folder:
            raise ValueError(
                f"a command may not write in {folder}, which holds {what}; make a scratch copy of the project"
            )


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
