"""See how much space folders take beyond what they took at first, while an untrusted command writes in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

MAX_DEPTH = 200
"""The number of folders within one another in which the space is still counted."""
RESERVE_BYTES = 512 << 20
"""The space that a command leaves free on a disk."""


class TooDeepError(Exception):
    """The error of folders that are nested more than ``MAX_DEPTH`` deep, in which files could hide."""


class Growth:
    """The space that folders take beyond what they took at first."""

    def __init__(self, folders: Sequence[str], max_files: int) -> None:
        self._folders = tuple(folders)
        self._max_files = max_files
        self._free = {folder: _free_bytes(folder) for folder in self._folders}
        self._first_bytes, self._first_files = self._sum(sys.maxsize)

    def excess(self, max_bytes: int) -> str:
        """Return in which way the folders have grown too much, or an empty text.

        Space is not counted if no name leads to it or if it lies in a folder that this user cannot list. Such space is bounded by
        the limit for each file, and by what has to stay free on the disk.
        """
        try:
            n_bytes, n_files = self._sum(self._first_files + self._max_files)
        except TooDeepError:
            return f"folders more than {MAX_DEPTH} deep"
        if n_files - self._first_files > self._max_files:
            return f"more than {self._max_files} files"
        if n_bytes - self._first_bytes > max_bytes:
            return f"more than {max_bytes} bytes"
        full = [folder for folder, free in self._free.items() if _free_bytes(folder) < min(free // 2, RESERVE_BYTES)]
        return f"less than {RESERVE_BYTES} bytes left on the disk of {full[0]}" if full else ""

    def _sum(self, max_files: int) -> tuple[int, int]:
        n_bytes, n_files = 0, 0
        for folder in self._folders:
            for size in _sizes(folder):
                n_bytes, n_files = n_bytes + size, n_files + 1
                if n_files > max_files:
                    return n_bytes, n_files
        return n_bytes, n_files


def _sizes(folder: str) -> Iterator[int]:
    """Yield the space of each file and folder in ``folder``, following no links. Raises TooDeepError."""
    levels = [_Level(folder)]
    try:
        while levels:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            yield _space(entry)
            if entry.is_dir(follow_symlinks=False):
                if len(levels) > MAX_DEPTH:
                    raise TooDeepError
                _descend(levels, entry.name)
    finally:
        for level in levels:
            level.close()


class _Level:
    """An open folder whose entries are being looked at. It stays the same folder if another takes its name."""

    def __init__(self, name: str, parent: int | None = None) -> None:
        self.fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        self.entries = os.scandir(self.fd)

    def close(self) -> None:
        self.entries.close()
        os.close(self.fd)


def _descend(levels: list[_Level], name: str) -> None:
    try:
        levels.append(_Level(name, levels[-1].fd))
    except OSError:  # it was removed meanwhile, or its mode forbids it, as it does to the command
        return


def _space(entry: os.DirEntry[str]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    return found.st_blocks * 512 // max(found.st_nlink if not entry.is_dir(follow_symlinks=False) else 1, 1)


def _free_bytes(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
