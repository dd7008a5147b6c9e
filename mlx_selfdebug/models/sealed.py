"""Seal a folder with a record of what it was made from, with the size and SHA-256 of each of its files.

The record, by which damage is noticed, is ``source.json``. It is written last. If it is missing, the folder was not
finished; if a file's size differs from the record, the folder is damaged. The content of a file is compared with the
recorded SHA-256 only if its time stamp differs from the recorded one, so checking an untouched folder reads nothing but
``source.json``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, TypedDict

logger = logging.getLogger(__name__)

SEAL = "source.json"
FORMAT_VERSION = 1
"""The version of the content of sealed folders. A folder of another version is made again."""


class _FileRecord(TypedDict):
    size: int
    mtime_ns: int
    sha256: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as a hex digest. The file is read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path, source_sha256: str) -> None:
    """Record every file that is now in ``folder``, which was made from the file with ``source_sha256``."""
    files = {path.name: _record(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
    content = {"format": FORMAT_VERSION, "source_sha256": source_sha256, "files": files}
    (folder / SEAL).write_text(json.dumps(content, indent=1), "utf-8")


def read_seal(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``source.json``, or None if the file is missing or is not a seal."""
    try:
        content = json.loads((folder / SEAL).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("files"), dict) else None


def is_sound(folder: Path, source_sha256: str) -> bool:
    """Return whether ``folder`` was made from the file with ``source_sha256`` in this format version and is not damaged."""
    content = read_seal(folder)
    if content is None or content.get("format") != FORMAT_VERSION or content.get("source_sha256") != source_sha256:
        return False
    try:
        damaged = [name for name, record in content["files"].items() if not _is_as_recorded(folder / name, record)]
    except (OSError, TypeError, KeyError, AttributeError):
        return False
    if damaged:
        logger.warning("%s is damaged (%s) and will be made again", folder, ", ".join(damaged))
    return not damaged


def _record(path: Path) -> _FileRecord:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(path)}


def _is_as_recorded(path: Path, record: _FileRecord) -> bool:
    stat = path.stat()
    if stat.st_size != record["size"]:
        return False
    return stat.st_mtime_ns == record["mtime_ns"] or sha256_of(path) == record["sha256"]
