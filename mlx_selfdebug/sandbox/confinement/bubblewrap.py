"""Build the command line that starts a program in namespaces made by bubblewrap.

Bubblewrap is for machines on which this program may not make namespaces but an installed ``bwrap`` may.

    process = Popen(command(layout, [layout.executable, "-S", "-s", "-P", "-B", ...]), pass_fds=[control])

The program that runs inside inherits every descriptor that is not closed on exec. It should confine itself further with
``Plan(..., without=frozenset({"namespaces"}))``. Process 1 of its namespace is ``bwrap``, which ends when the program ends, with
the same exit status or with 128 + n after signal n. ``bwrap`` dies with the *thread* that started it, so that thread has to live as
long as the program.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache

from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter
from mlx_selfdebug.sandbox.confinement.roots import NODEV, RDONLY, Memory, Root

_TRIAL_TIMEOUT_S = 10
_FIXED_OPTIONS = (
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv", "--chdir", "/",
)  # fmt: skip


def command(
    layout: Layout, inner: Sequence[str], *, program: str = "bwrap", environment: dict[str, str] | None = None
) -> list[str]:
    """Return the command line that runs ``inner`` in a root that holds only the files of the layout, read-only.

    The first word of ``inner`` must be a path. The command has the variables of ``environment`` and no others.
    """
    variables = _variables(environment or {})
    return [program, *_FIXED_OPTIONS, *variables, *_layout_mounts(layout), "--remount-ro", "/", "--", *inner]


def command_for(root: Root, inner: Sequence[str], *, program: str = "bwrap", environment: dict[str, str]) -> list[str]:
    """Return the command line that runs ``inner`` in the root that is planned for a confined command.

    ``inner`` starts the keeper, so the root must also hold what the keeper needs. Bubblewrap cannot mount a folder so that nothing
    in it may be executed. Landlock has to deny that.
    """
    network = ["--share-net"] if root.network else []
    links = [word for path, text in root.links for word in ("--symlink", text, path)]
    options = [*_FIXED_OPTIONS, *network, *_variables(environment), *links, *_root_mounts(root)]
    return [program, *options, "--remount-ro", "/", "--", *inner]


@cache
def works() -> bool:
    """Return whether a trial run of this interpreter inside bubblewrap succeeds on this machine."""
    program = shutil.which("bwrap")
    if program is None or sys.platform != "linux":
        return False
    layout = this_interpreter()
    inner = [layout.executable, "-S", "-s", "-P", "-B", "-c", "print('inside')"]
    try:
        done = subprocess.run(
            command(layout, inner, program=program),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout == b"inside\n"


def _variables(environment: dict[str, str]) -> list[str]:
    return [word for name, value in environment.items() for word in ("--setenv", name, value)]


def _layout_mounts(layout: Layout) -> Iterator[str]:
    """Yield the options that show the files of a layout, and cover the hidden folders in it by empty ones."""
    for name in sorted(os.listdir("/")):
        if name.startswith("lib") and os.path.islink(f"/{name}"):
            yield from ("--symlink", os.readlink(f"/{name}"), f"/{name}")
    for path in (*layout.stdlib, *layout.libraries, layout.executable):
        yield from ("--ro-bind", path, path)
    for path in layout.files:
        option = "--dev-bind" if stat.S_ISCHR(os.stat(path).st_mode) else "--ro-bind"
        yield from (option, os.path.realpath(path), path)
    for path in layout.hidden:
        yield from ("--tmpfs", path)
    for path in layout.packages:
        yield from ("--ro-bind", path, path)
    for path in layout.hidden:
        yield from ("--remount-ro", path)


def _root_mounts(root: Root) -> Iterator[str]:
    """Yield the options for the mounts of a planned root."""
    for mount in root.mounts:
        if isinstance(mount, Memory):
            yield from ("--size", str(mount.n_bytes), "--tmpfs", mount.target)
        elif not mount.attributes & NODEV:
            yield from ("--dev-bind", mount.source, mount.target)
        else:
            yield from ("--ro-bind" if mount.attributes & RDONLY else "--bind", mount.source, mount.target)
