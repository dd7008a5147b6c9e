"""Write text files and folders so that a reader sees them whole or not at all.

This holds for programs that read at the same time, also if the writing program is killed. It does not hold for a power cut, since
nothing here waits until the disk has the data.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mlx_selfdebug.errors import StoreError


@contextmanager
def writing_atomically(path: Path) -> Iterator[IO[str]]:
    """Yield a text file to write, which replaces ``path`` when the block ends without an error.

    Raises StoreError if it cannot be written. An OSError inside the block is raised as StoreError, too.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")  # two processes may write the same file
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}", hint="free some disk space or choose another path"
        ) from error
    finally:
        with suppress(OSError):  # the error that kept the file from being written can keep it from being removed
            partial.unlink()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees either the old content or the new one. Raises StoreError if that fails."""
    with writing_atomically(path) as file:
        file.write(text)


@contextmanager
def making_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``target`` when the block ends without an error.

    Raises OSError if the folder cannot be made or ``target`` is not empty. If the block raises, ``target`` is left as it was.
    """
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
