"""Copy a folder of rank 0 to the machines of the other ranks, over the connection by which they exchange messages."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlx_selfdebug.distributed.group import Group
from mlx_selfdebug.errors import StoreError

CHUNK_BYTES = 16 << 20
"""The number of bytes that are sent at a time."""


def share_folder(group: Group, folder: Path, *, only: Sequence[str] = ()) -> None:
    """Give every rank the files that rank 0 has in its ``folder``. Each rank may call its own folder by another path.

    If ``only`` names files, by their paths within the folder, all other files are ignored. Nothing is sent if all ranks have the
    same files, or if rank 0 has none. Otherwise all files are sent, and a rank on which any file is missing or differs replaces its
    whole folder. Raises StoreError on the ranks on which a file cannot be read or written.
    """
    if group.size == 1:
        return
    try:
        _share(group, folder, only)
    except OSError as error:
        raise StoreError(
            f"rank {group.rank}: {error.filename or folder}: {error.strerror or error}",
            hint="free some space and run the same command again",
        ) from error


def _share(group: Group, folder: Path, only: Sequence[str]) -> None:
    """Do the work of ``share_folder``. Raises OSError if a file cannot be read or written."""
    own = {name: digest for name, digest in _digests(folder).items() if not only or name in only}
    files: dict[str, str] = group.agree(lambda: own)
    if not files:
        return
    is_complete = own == files
    if all(group.gather_json(is_complete)):
        return
    # A rank that is complete receives the files as well, because all ranks have to make the same calls. It drops its copy.
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        for name in files:
            _share_file(group, folder / name, partial / name)
        if not is_complete:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _share_file(group: Group, source: Path, target: Path) -> None:
    """Send ``source`` from rank 0, and write it to ``target`` on the others."""
    n_bytes: int = group.agree(lambda: source.stat().st_size)
    if group.is_first:
        with source.open("rb") as file:
            for _ in range(0, n_bytes, CHUNK_BYTES):
                _send(group, np.frombuffer(file.read(CHUNK_BYTES), np.uint8))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for start in range(0, n_bytes, CHUNK_BYTES):
            empty = np.zeros(min(CHUNK_BYTES, n_bytes - start), np.uint8)
            file.write(_send(group, empty).tobytes())


def _send(group: Group, chunk: Any) -> Any:
    """Return, on every rank, the bytes that rank 0 gives as a numpy array. The other ranks give an array of the same size."""
    from mlx_selfdebug.models.backend import mx

    return np.array(group.copy_of_first({"chunk": mx.array(chunk)})["chunk"])


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in ``folder`` and below it, by its path within the folder; none if there is no folder."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
