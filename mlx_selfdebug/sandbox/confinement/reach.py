"""Describe what a confined command may reach: its interpreter, what it may read, where it may write, and whether it has a network.

    layout = layout_of("/home/ana/project/.venv/bin/python")
    reach = Reach(layout, interpreter, readable=(venv,), writable=(Writable(scratch, "/home/ana/project"),), temporary=folder)

A zygote gets a ``Layout`` alone, which shows the standard library and hides everything that is installed. A command needs more: its
virtual environment, a project, folders to write in, and the right to start its interpreter again.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.sandbox.confinement.layout import Layout

_QUERY_TIMEOUT_S = 60.0
_LOADERS = ("/lib/ld-linux*.so.*", "/lib64/ld-linux*.so.*", "/lib/ld-musl-*.so.*")
"""Where the dynamic loaders lie. The kernel executes a loader along with each program, so it has to be allowed as well."""
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/ssl", "/etc/pki")
"""Files from which the C library and TLS libraries learn about names, ports and certificates."""
_MAX_LINKS = 40
"""The number of symbolic links on the way to a file after which the kernel gives up as well."""
# The other interpreter runs layout.py itself, which it reads from its standard input, so that both mean the same by a layout.
_QUERY = (
    "import sys; module = type(sys)('layout'); sys.modules['layout'] = module; "
    "exec(compile(sys.stdin.read(), 'layout.py', 'exec'), module.__dict__); "
    "import dataclasses, json, site; "
    "print(json.dumps([dataclasses.asdict(module.this_interpreter()), site.getsitepackages()]))"
)


@dataclass(frozen=True)
class Writable:
    """A folder that a command may write in."""

    folder: str
    """The real path of the folder outside."""
    place: str
    """The path at which the command sees the folder. It differs from ``folder`` only where there are namespaces."""


@dataclass(frozen=True)
class Reach:
    """What a confined command may reach. All paths are absolute. They are real paths unless their documentation says otherwise."""

    layout: Layout
    """The installation of the interpreter. Nothing in it is hidden."""
    interpreter: str
    """The path by which the command starts its interpreter. It may lead through links, as in a virtual environment."""
    temporary: str
    """The private folder for temporary files. With namespaces it holds a file system in memory."""
    temporary_bytes: int = 256 << 20
    """The size of the file system in memory."""
    readable: tuple[str, ...] = ()
    """Paths of files and folders that may be read, with everything in them. They may lead through links."""
    programs: tuple[str, ...] = ()
    """Paths of programs that may be started besides the interpreter. They may lead through links."""
    writable: tuple[Writable, ...] = ()
    """The folders in which the command may write."""
    network: bool = False
    """Whether the command may use the network of this machine."""

    @property
    def executables(self) -> tuple[str, ...]:
        """The only files that may be executed: the interpreter, ``programs``, and the loader with which the kernel starts them."""
        loaders = (os.path.realpath(path) for pattern in _LOADERS for path in glob.glob(pattern))
        return tuple(dict.fromkeys([self.layout.executable, *map(os.path.realpath, self.programs), *loaders]))

    @property
    def read_only(self) -> tuple[str, ...]:
        """The real paths of everything that may be read and not written, outermost first."""
        network = [path for path in _NETWORK_FILES if self.network and os.path.exists(path)]
        named = map(os.path.realpath, (*self.readable, *self.programs, *network))
        return tuple(sorted({*self.layout.stdlib, *self.layout.libraries, *named, self.layout.executable}))

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """The symbolic links on the way to the interpreter, the readable files and the programs, each with its text."""
        paths = (self.interpreter, *self.readable, *self.programs, *_environment_homes(self.interpreter))
        return tuple(dict.fromkeys(link for path in paths for link in links_on_the_way(path)))


def layout_of(interpreter: str) -> Layout:
    """Return the layout of an interpreter, with all that is installed in it.

    To find out, the interpreter is started in isolated mode and without its installed packages. Raises ValueError if it does not
    answer or is older than Python 3.9.
    """
    import subprocess  # imported here because keepers import this module too and do without the time that this takes

    source = (Path(__file__).parent / "layout.py").read_text("utf-8")
    command = [interpreter, "-I", "-S", "-B", "-c", _QUERY]
    try:
        done = subprocess.run(
            command,
            input=source,
            capture_output=True,
            text=True,
            timeout=_QUERY_TIMEOUT_S,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{interpreter} is not a Python interpreter that starts here: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{interpreter} is not a Python interpreter of version 3.9 or later: {last}")
    layout, packages = json.loads(done.stdout)
    folders = [*layout["libraries"], *(os.path.realpath(path) for path in packages if os.path.isdir(path))]
    return Layout(
        layout["executable"],
        tuple(layout["stdlib"]),
        libraries=tuple(dict.fromkeys(folders)),
        files=tuple(layout["files"]),
    )


def virtual_environment(interpreter: str) -> str | None:
    """Return the folder of the virtual environment to which the path of an interpreter belongs, or None if it belongs to none."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(interpreter)))
    return folder if os.path.isfile(os.path.join(folder, "pyvenv.cfg")) else None


def links_on_the_way(path: str) -> Iterator[tuple[str, str]]:
    """Yield each symbolic link that is followed when ``path`` is opened, with the text of the link."""
    for _ in range(_MAX_LINKS):
        link = next((prefix for prefix in _prefixes(path) if os.path.islink(prefix)), None)
        if link is None:
            return
        text = os.readlink(link)
        yield link, text
        path = os.path.normpath(os.path.join(os.path.dirname(link), text) + path[len(link) :])


def _prefixes(path: str) -> Iterable[str]:
    """Return the path of each folder on the way to an absolute path, outermost first, and the path itself."""
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(2, len(parts) + 1))


def _environment_homes(interpreter: str) -> list[str]:
    """Return the folder in which a virtual environment says that its base interpreter lies, if there is one.

    The path to this folder may lead through links, too.
    """
    environment = virtual_environment(interpreter)
    if environment is None:
        return []
    lines = Path(environment, "pyvenv.cfg").read_text("utf-8", "replace").splitlines()
    entries = (line.partition("=") for line in lines)
    return [value.strip() for key, _, value in entries if key.strip() == "home" and os.path.isabs(value.strip())]
