"""Make folders that are removed when their owner is done with them, and also after their owner was killed.

Each folder has a lock file beside it, which its owner holds. A lock file that nobody holds belongs to a process that is gone, so
the next owner removes it and its folder first.
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

_LOCK = ".lock"


@contextmanager
def owned_folder(parent: Path, kind: str) -> Iterator[Path]:
    """Make a folder in ``parent`` that exists until the block ends, and remove those of owners that are gone.

    ``kind`` begins the folder's name. Raises SandboxError if ``parent`` cannot be trusted with it.
    """
    _prepare(parent)
    _remove_abandoned(parent)
    folder, lock = _made(parent, kind)
    try:
        yield folder
    finally:
        remove_tree(folder)
        lock_path(folder).unlink(missing_ok=True)
        os.close(lock)


def default_parent() -> Path:
    """Return the folder of this user among the temporary files. Nothing is created."""
    return Path(os.path.realpath(tempfile.gettempdir())) / f"mlx-selfdebug-{os.geteuid()}"


def lock_path(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)


def _prepare(parent: Path) -> None:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SandboxError(
            f"{parent} is not a folder that only you can write in, so others could change what is run there",
            hint=f"rename {parent}, or set TMPDIR to a folder of your own",
        )


def _made(parent: Path, kind: str) -> tuple[Path, int]:
    """Return a new folder and the descriptor of its lock file, which is held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=parent))
        lock = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have taken the new lock file for an abandoned one before it was locked, and removed both.
        if _is_current(lock, lock_path(folder)) and folder.is_dir():
            return folder, lock
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"*{_LOCK}"):
        try:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # its owner has just removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(lock, path):
                remove_tree(path.with_name(path.name.removesuffix(_LOCK)))
                path.unlink(missing_ok=True)
        except BlockingIOError:  # its owner is alive
            pass
        finally:
            os.close(lock)


def _is_current(lock: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(lock), path.lstat())
    return False


def remove_tree(folder: Path) -> None:
    """Remove a folder that untrusted code has written in, which no longer runs. It need not exist.

    No link is followed. Folders may be nested deeper than a path can name, and forbid their owner to list them.
    """
    try:
        current = _opened(str(folder))
    except FileNotFoundError:
        return
    names: list[str] = []
    waiting = [_emptied(current)]
    try:
        while waiting:
            if waiting[-1]:
                names.append(waiting[-1].pop())
                current = _moved(current, names[-1])
                waiting.append(_emptied(current))
            else:
                waiting.pop()
                if waiting:
                    current = _moved(current, "..")
                    os.rmdir(names.pop(), dir_fd=current)
    finally:
        os.close(current)
    folder.rmdir()


def _emptied(folder: int) -> list[str]:
    """Remove everything but folders from an open folder, and return the names of the folders."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _moved(current: int, name: str) -> int:
    """Close one folder and return the one that it calls ``name``, opened."""
    try:
        return _opened(name, current)
    finally:
        os.close(current)


def _opened(name: str, parent: int | None = None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = stat.S_IMODE(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    if mode & 0o700 != 0o700 and name != "..":
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, flags, dir_fd=parent)
