"""Write a change into the project: at once or not at all, with a copy of the file as it was kept beside it."""

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
    """Write ``change`` into the project at ``root``, and return the path of the copy that is kept of the file.

    The file is replaced in one step and keeps its mode. Raises UsageError, and changes nothing, if the file is no longer what the
    change was made for, if git says that it has changes which are not committed and ``force`` is false, or if it cannot be written.
    """
    path = Path(os.path.realpath(root / change.file.name))
    data = path.read_bytes() if path.is_file() else b""
    if data != change.file.encoded(change.file.text):
        raise UsageError(f"{change.file.name} has changed since the tests were run", hint="run fix again")
    if not force and is_dirty(path):
        raise UsageError(
            f"{change.file.name} has changes that are not committed",
            hint="commit them, or write into the file all the same with --force; a copy of it is kept",
        )
    try:
        return _replaced(path, change.data)
    except OSError as error:
        raise UsageError(
            f"{change.file.name} cannot be written: {error.strerror}", hint="take the diff with --diff"
        ) from error


def _replaced(path: Path, data: bytes) -> Path:
    backup = _backup_of(path)
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


def _backup_of(path: Path) -> Path:
    """Return a path beside the file at which there is nothing yet."""
    backup, n = path.with_name(path.name + BACKUP_SUFFIX), 1
    while backup.exists():
        n += 1
        backup = path.with_name(f"{path.name}{BACKUP_SUFFIX}-{n}")
    return backup


def is_dirty(path: Path) -> bool:
    """Return whether git tracks the file and knows of changes in it that are not committed."""
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no", "--", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0 and bool(done.stdout.strip())
