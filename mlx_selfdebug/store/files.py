"""Text files, and folders, that a reader sees whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlx_selfdebug.errors import StoreError


@contextmanager
def writing_atomically(path: Path) -> Iterator[IO[str]]:
    """A file to write, put in place of ``path`` when the block ends well. Raises StoreError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}", hint="free some space or choose another place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole. Raises StoreError."""
    with writing_atomically(path) as file:
        file.write(text)


@contextmanager
def making_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``target``, new or empty, when the block ends well. Raises OSError."""
    made = target.with_name(f".{target.name}.partial-{os.getpid()}")
    made.mkdir()
    try:
        yield made
        os.rename(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
