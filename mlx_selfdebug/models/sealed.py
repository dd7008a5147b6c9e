"""Record what a folder was made from and what its files hold, so that damage is noticed.

The record is the file ``source.json`` in the folder. It is written last, so a folder without it was not finished. It holds the
SHA-256 of the source, and the size, the time stamp and the SHA-256 of each file. A file of another size is damaged. The content of
a file is compared with its SHA-256 only if its time stamp differs from the recorded one, so checking an untouched folder reads
nothing but ``source.json``.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

from mlx_selfdebug.models.checksum import sha256_of

logger = logging.getLogger(__name__)

SEAL = "source.json"
"""The name of the record, which makes a folder a sealed one."""
FORMAT_VERSION = 1
"""The version of the content of sealed folders. A folder of another version is made again."""


class FileRecord(TypedDict):
    """What is recorded of a file."""

    size: int
    """The size in bytes."""
    mtime_ns: int
    """The time at which the file was last modified, in nanoseconds since 1970."""
    sha256: str
    """The SHA-256 of the content as a hex digest."""


class Seal(TypedDict):
    """The content of ``source.json``."""

    format: int
    """The format version of the folder."""
    source_sha256: str
    """The SHA-256 of the file from which the folder was made."""
    files: dict[str, FileRecord]
    """The files by their paths within the folder."""


def seal(folder: Path, source_sha256: str) -> None:
    """Write the record of all files that are in ``folder`` and its subfolders now.

    ``source_sha256`` is the SHA-256 of the file from which the folder was made.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)
    files = {path.relative_to(folder).as_posix(): _record(path) for path in paths}
    content: Seal = {"format": FORMAT_VERSION, "source_sha256": source_sha256, "files": files}
    (folder / SEAL).write_text(json.dumps(content, indent=1), "utf-8")


def read_seal(folder: Path) -> Seal | None:
    """Return the content of ``source.json``, or None if the file is missing or is not a seal."""
    try:
        content = json.loads((folder / SEAL).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    is_seal = isinstance(content, dict) and isinstance(content.get("files"), dict)
    return cast(Seal, content) if is_seal else None


def is_sound(folder: Path, source_sha256: str, *, refresh: bool = False) -> bool:
    """Return whether ``folder`` was made from the file with ``source_sha256`` in this format version and is not damaged.

    Damage is logged as a warning. With ``refresh``, files that are right but have other time stamps, such as copied ones, get their
    time stamps recorded, so that the next check need not read them. Nothing else is ever written.
    """
    content = read_seal(folder)
    if content is None or content.get("format") != FORMAT_VERSION or content.get("source_sha256") != source_sha256:
        return False
    files = {name: _confirmed(folder / name, record) for name, record in content["files"].items()}
    damaged = [name for name, record in files.items() if record is None]
    if damaged:
        logger.warning("%s is damaged (%s) and is made again when it is needed", folder, ", ".join(damaged))
        return False
    if refresh and files != content["files"]:
        _replace_seal(folder, {**content, "files": {name: record for name, record in files.items() if record}})
    return True


def _record(path: Path) -> FileRecord:
    """Return the record of a file as it is now."""
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(path)}


def _confirmed(path: Path, record: FileRecord) -> FileRecord | None:
    """Return the record of a file with its present time stamp, or None if the file or the record is damaged."""
    try:
        stat = path.stat()
        is_right = stat.st_size == record["size"] and (
            stat.st_mtime_ns == record["mtime_ns"] or sha256_of(path) == record["sha256"]
        )
    except (OSError, TypeError, KeyError):
        return None
    return {**record, "mtime_ns": stat.st_mtime_ns} if is_right else None


def _replace_seal(folder: Path, content: Seal) -> None:
    """Replace the record in one step. A folder that cannot be written keeps its record."""
    temporary = folder / f".{SEAL}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(content, indent=1), "utf-8")
        temporary.replace(folder / SEAL)
    except OSError as error:
        logger.debug("the record of %s is not refreshed: %s", folder, error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
