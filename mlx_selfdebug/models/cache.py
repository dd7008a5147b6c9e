"""Check that the cache folder has room for models, and keep processes from working on the same part of it at once.

In the cache folder (``machine/cache_folder.py``), ``models/`` holds repacked models and ``downloads/`` holds GGUF files until they
are repacked. Repositories of the hub stay in the hub's own cache.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mlx_selfdebug.errors import DownloadError, ModelError
from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE

logger = logging.getLogger(__name__)

_HINT = f"set {CACHE_VARIABLE} to a folder that can be written, on a disk with enough space"


def make_writable(folder: Path) -> Path:
    """Create ``folder`` if it does not exist, and return it.

    Raises:
        ModelError: the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        raise ModelError(f"cannot write to the model cache {folder}: {error.strerror or error}", hint=_HINT) from error
    return folder


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Raise DownloadError unless the disk of ``folder`` has ``n_bytes`` free. ``what`` names what needs them, for the message."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise DownloadError(
            f"not enough space in {folder} for {what}: {n_bytes / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free",
            hint=_HINT,
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an OSError that is raised inside the ``with`` block into a DownloadError that names ``folder``."""
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DownloadError(f"cannot write in {folder}: {what}", hint=_HINT) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` inside the ``with`` block. If another process holds it, log that and wait."""
    lock = FileLock(path)
    with writing(path.parent):
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            logger.info("waiting for another process that holds %s", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
