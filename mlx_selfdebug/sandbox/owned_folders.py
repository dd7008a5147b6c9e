"""Make folders that are removed when their owner is done with them, and also after their owner was killed.

Each folder has a lock file beside it, on which its owner holds a lock. A lock file that nobody has locked was left by a process
that is gone. Whoever makes the next folder removes such lock files and their folders first.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlx_selfdebug.errors import SandboxError

_LOCK_SUFFIX = ".lock"


@contextmanager
def owned_folder(parent: Path, kind: str) -> Iterator[Path]:
    """Make a folder in ``parent`` and yield its path. It exists until the block ends.

    Folders in ``parent`` whose owners are gone are removed first. The name of the new folder begins with ``kind``. Raises
    SandboxError if another user could write in ``parent``.
    """
    _prepare_parent(parent)
    _remove_abandoned(parent)
    folder, lock = _make_locked(parent, kind)
    try:
        yield folder
    finally:
        try:
            remove_tree(folder)
            lock_path(folder).unlink(missing_ok=True)
        finally:
            os.close(lock)


def default_parent() -> Path:
    """Return the path of this user's folder among the temporary files, without creating it."""
    return Path(os.path.realpath(tempfile.gettempdir())) / f"mlx-selfdebug-{os.geteuid()}"


def lock_path(folder: Path) -> Path:
    """Return the path of the lock file of a folder."""
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _prepare_parent(parent: Path) -> None:
    """Create ``parent`` if it does not exist. Raises SandboxError unless it is a folder in which only this user can write."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise SandboxError(
            f"{parent} is not a folder that only you can write in, so others could change what is run there",
            hint=f"rename {parent}, or set TMPDIR to a folder of your own",
        )


def _make_locked(parent: Path, kind: str) -> tuple[Path, int]:
    """Make a folder and its lock file, lock that file, and return the path of the folder and the descriptor of the lock file."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=parent))
        lock = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have taken the new lock file for an abandoned one before it was locked, and removed both.
        if _is_current(lock, lock_path(folder)) and folder.is_dir():
            return folder, lock
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove every folder in ``parent`` whose owner is gone, with its lock file."""
    for path in parent.glob(f"*{_LOCK_SUFFIX}"):
        try:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # its owner has just removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(lock, path):
                remove_tree(path.with_name(path.name.removesuffix(_LOCK_SUFFIX)))
                path.unlink(missing_ok=True)
        except BlockingIOError:  # its owner is alive
            pass
        finally:
            os.close(lock)


def _is_current(lock: int, path: Path) -> bool:
    """Return whether an open lock file is still the one at ``path``, and not one that another process has removed."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(lock), path.lstat())
    return False


def remove_tree(folder: Path) -> None:
    """Remove a folder in which untrusted code has written. That code must have ended; the folder need not exist.

    No link is followed. ``shutil.rmtree`` will not do: the folders may be nested deeper than a path can name or a recursion can
    follow, and they may forbid their owner to list them.
    """
    try:
        current = _open_folder(str(folder))
    except FileNotFoundError:
        return
    names: list[str] = []  # the way from ``folder`` to the current folder
    remaining: list[list[str]] = []  # for each folder on this way, the folders in it that are still to be removed
    try:
        remaining.append(_remove_files(current))
        while remaining:
            if remaining[-1]:
                names.append(remaining[-1].pop())
                inner = _open_folder(names[-1], current)
                os.close(current)
                current = inner
                remaining.append(_remove_files(current))
            else:
                remaining.pop()
                if remaining:
                    outer = _open_folder("..", current)
                    os.close(current)
                    current = outer
                    os.rmdir(names.pop(), dir_fd=current)
    finally:
        os.close(current)
    folder.rmdir()


def _remove_files(folder: int) -> list[str]:
    """Remove everything but folders from an open folder, and return the names of the folders in it."""
    with os.scandir(folder) as scan:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan]
    for name, is_folder in entries:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in entries if is_folder]


def _open_folder(name: str, parent: int | None = None) -> int:
    """Open a folder, after giving its owner the rights to list it and to change it. Return the descriptor."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = stat.S_IMODE(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    if mode & 0o700 != 0o700 and name != "..":
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, flags, dir_fd=parent)
