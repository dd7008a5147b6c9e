"""Measure by how much folders grow while an untrusted command writes in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

MAX_DEPTH = 200
"""The maximum depth of nested folders in which space is counted."""
RESERVE_BYTES = 512 << 20
"""The space that a command must leave free on a disk, or half of what was free at first if that is less."""


class TooDeepError(Exception):
    """The error of folders that are nested more than ``MAX_DEPTH`` deep, where the space of files would not be counted."""


class Growth:
    """The growth of folders since this object was made.

    ``max_files`` is the number of files and folders that may be added to them.
    """

    def __init__(self, folders: Sequence[str], max_files: int) -> None:
        self._folders = tuple(folders)
        self._max_files = max_files
        self._free = {folder: _free_bytes(folder) for folder in self._folders}
        self._first_bytes, self._first_files = self._sum(sys.maxsize)

    def excess(self, max_bytes: int) -> str:
        """Return in a few words how the folders have grown too much, or an empty string if they have not.

        Their files may have grown by ``max_bytes`` together. Deleted files that are still open are not counted, nor are files in
        folders that this user cannot list. Their space is bounded by the limit for each file, and by what has to stay free on the
        disk.
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
        """Return the bytes that the folders take and the number of files and folders in them, stopping after ``max_files``."""
        n_bytes, n_files = 0, 0
        for folder in self._folders:
            for size in _sizes(folder):
                n_bytes, n_files = n_bytes + size, n_files + 1
                if n_files > max_files:
                    return n_bytes, n_files
        return n_bytes, n_files


def _sizes(folder: str) -> Iterator[int]:
    """Yield the bytes that each file and folder in ``folder`` takes on the disk. No links are followed.

    Raises TooDeepError if folders are nested too deep.
    """
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
    """A folder that is being listed. It is held open by a descriptor, so that the command cannot put another one in its place."""

    def __init__(self, name: str, parent: int | None = None) -> None:
        self.fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        self.entries = os.scandir(self.fd)

    def close(self) -> None:
        self.entries.close()
        os.close(self.fd)


def _descend(levels: list[_Level], name: str) -> None:
    try:
        levels.append(_Level(name, levels[-1].fd))
    except OSError:  # the folder was removed in the meantime, or its mode forbids this user to list it
        return


def _space(entry: os.DirEntry[str]) -> int:
    """Return the bytes that an entry takes on the disk. A file with several names counts once, a part for each name."""
    try:
        stat = entry.stat(follow_symlinks=False)
    except OSError:  # the entry was removed in the meantime
        return 0
    n_names = 1 if entry.is_dir(follow_symlinks=False) else max(stat.st_nlink, 1)
    return stat.st_blocks * 512 // n_names  # st_blocks counts units of 512 bytes, whatever the blocks of the disk


def _free_bytes(folder: str) -> int:
    file_system = os.statvfs(folder)
    return file_system.f_bavail * file_system.f_frsize
