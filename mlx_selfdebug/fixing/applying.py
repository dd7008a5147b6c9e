"""Write a change into its project. The file is replaced in one step, and a copy of the old file is kept beside it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.change import Change

BACKUP_SUFFIX = ".before-fix"


def apply_change(change: Change, root: Path, *, force: bool = False) -> Path:
    """Write ``change`` into the project at ``root``, and return the path of the copy that is kept of the old file.

    The file is replaced in one step and keeps its mode. UsageError is raised, and nothing is changed, in three cases: the file is
    no longer the one that the change was made for, git knows of uncommitted changes in it and ``force`` is false, or it cannot be
    written.
    """
    path = Path(os.path.realpath(root / change.file.name))
    data = path.read_bytes() if path.is_file() else b""
    if data != change.file.encoded(change.file.text):
        raise UsageError(f"{change.file.name} has changed since the tests were run", hint="run fix again")
    if not force and is_dirty(path):
        raise UsageError(
            f"{change.file.name} has changes that are not committed",
            hint="commit them, or use --force; a copy of the file is kept in any case",
        )
    try:
        return _replace(path, change.data)
    except OSError as error:
        raise UsageError(
            f"{change.file.name} cannot be written: {error.strerror}",
            hint="print the change with --diff, and apply it yourself",
        ) from error


def _replace(path: Path, data: bytes) -> Path:
    """Replace the content of a file in one step, and return the path of the copy that is kept of the old one."""
    backup = _unused_backup(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
        shutil.copy2(path, backup)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return backup


def _unused_backup(path: Path) -> Path:
    """Return a path beside the file, named after it, at which nothing exists yet."""
    backup, n = path.with_name(path.name + BACKUP_SUFFIX), 1
    while backup.exists():
        n += 1
        backup = path.with_name(f"{path.name}{BACKUP_SUFFIX}-{n}")
    return backup


def is_dirty(path: Path) -> bool:
    """Return whether git tracks the file and knows of uncommitted changes in it; False if there is no git or no repository."""
    git = shutil.which("git")
    if git is None:
        return False
    # A project may configure any program as its fsmonitor, and git would run it.
    command = [git, "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no", "--", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0 and bool(done.stdout.strip())
