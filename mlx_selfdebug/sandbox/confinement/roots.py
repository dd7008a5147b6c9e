"""Plan the root folder that a process sees in namespaces of its own. ``namespaces.py`` mounts it.

A root is planned while every path can still be reached. ``sealed`` plans the root of a zygote, in which nothing can be written, and
``open_for`` that of a confined command, which has folders to write in.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.reach import Reach

# The attributes of a mount, as the bits of mount_setattr (``linux/mount.h``).
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
SHARED_MEMORY = "/dev/shm"
"""The folder of POSIX semaphores and shared memory, which ``multiprocessing`` needs."""
_SHARED_MEMORY_BYTES = 64 << 20


@dataclass(frozen=True)
class Bind:
    """A mount that shows the file or folder ``source`` from outside the sandbox at ``target``, with these mount attributes."""

    source: str
    target: str
    attributes: int


@dataclass(frozen=True)
class Memory:
    """A mount of an empty file system in memory, in which files may be written and not executed."""

    target: str
    n_bytes: int
    """The size of the file system."""


@dataclass(frozen=True)
class Root:
    """The plan of a root folder."""

    base: str
    """The folder on which the new root is mounted before it becomes the root. Any folder that exists will do."""
    mounts: tuple[Bind | Memory, ...]
    """What is mounted, in this order."""
    hidden: tuple[str, ...] = ()
    """Folders that are covered by empty ones."""
    packages: tuple[Bind, ...] = ()
    """Packages that are shown although they lie in hidden folders."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links, such as /lib, each with the text that it holds."""
    network: bool = False
    """Whether the process keeps the network of the host."""


def sealed(layout: Layout) -> Root:
    """Return the plan of a root that holds only the files of the layout, read-only."""
    return Root(
        base=os.path.realpath(layout.stdlib[0]),
        mounts=_installation(layout),
        hidden=layout.hidden,
        packages=tuple(_folder(path) for path in layout.packages),
        links=_library_links(),
    )


def open_for(reach: Reach) -> Root:
    """Return the plan of a root that holds what the command may read, its writable folders, and private folders in memory."""
    shown = [_folder(path) for path in reach.read_only]
    writable = [Bind(item.folder, item.place, NOSUID | NODEV | NOEXEC) for item in reach.writable]
    memory = [Memory(reach.temporary, reach.temporary_bytes), Memory(SHARED_MEMORY, _SHARED_MEMORY_BYTES)]
    return Root(
        base=os.path.realpath(reach.layout.stdlib[0]),
        mounts=_outermost_first([*_installation(reach.layout), *writable, *memory, *shown]),
        links=(*_library_links(), *reach.links),
        network=reach.network,
    )


def _installation(layout: Layout) -> tuple[Bind, ...]:
    """Return the mounts of an interpreter's standard library, its shared libraries, and the single files that it needs."""
    folders = [_folder(path) for path in (*layout.stdlib, *layout.libraries)]
    return tuple(folders + [_bind(path, _file_attributes(path)) for path in layout.files])


def _outermost_first(mounts: Iterable[Bind | Memory]) -> tuple[Bind | Memory, ...]:
    """Return the mounts with outer folders before inner ones, and without those whose files an outer mount shows already.

    If several mounts have the same target, the first of them is kept. ``open_for`` lists writable folders before readable ones, so
    that a folder which is both stays writable.
    """
    by_target: dict[str, Bind | Memory] = {}
    for mount in mounts:
        by_target.setdefault(mount.target, mount)
    kept: list[Bind | Memory] = []
    # Sorted by their parts, paths come directly after the folder that holds them.
    for target in sorted(by_target, key=lambda path: path.split("/")):
        mount = by_target[target]
        outer = next((other for other in reversed(kept) if target.startswith(other.target + "/")), None)
        if not (_shows_same_path_read_only(outer) and _shows_same_path_read_only(mount)):
            kept.append(mount)
    return tuple(kept)


def _shows_same_path_read_only(mount: Bind | Memory | None) -> bool:
    """Return whether the mount shows, read-only, what lies at the same path outside. Then it shows everything below as well."""
    return (
        isinstance(mount, Bind) and mount.source == os.path.realpath(mount.target) and bool(mount.attributes & RDONLY)
    )


def _library_links() -> tuple[tuple[str, str], ...]:
    """Return the links in the root folder that lead to libraries, such as /lib64, which leads to usr/lib64 on many systems."""
    links = [name for name in os.listdir("/") if name.startswith("lib") and os.path.islink(f"/{name}")]
    return tuple((f"/{name}", os.readlink(f"/{name}")) for name in links)


def _folder(path: str) -> Bind:
    return _bind(path, RDONLY | NOSUID | NODEV)


def _bind(path: str, attributes: int) -> Bind:
    return Bind(os.path.realpath(path), path, attributes)


def _file_attributes(path: str) -> int:
    """Return the attributes for a single file: a device stays a device, and only a shared library may be mapped as code."""
    if stat.S_ISCHR(os.stat(path).st_mode):
        return RDONLY | NOSUID | NOEXEC
    is_library = re.search(r"\.so(\.\d+)*$", os.path.basename(path)) is not None
    return RDONLY | NOSUID | NODEV | (0 if is_library else NOEXEC)
