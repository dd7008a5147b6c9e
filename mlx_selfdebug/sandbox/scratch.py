"""Copy a project into a scratch folder, where a confined command may write, and remove the copy afterwards.

    with scratch_copy("project") as scratch:
        (scratch.folder / "src/module.py").write_text(patched)
        run_confined([python, "-m", "pytest"], folder=scratch.folder, seen_at=scratch.project)

A copy holds the files that git tracks and those that are new and not ignored. Without git it holds all but virtual environments,
caches and the folders of version control. Where the file system can do that, a copied file shares its blocks with the original
until one of the two is written. Links that lead out of the project are left out, and so is everything that is neither a file nor a
folder nor a link.

A copy is removed when its block ends. If the program is killed before that, the next program that makes a copy removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.sandbox.owned_folders import default_parent, owned_folder

MAX_BYTES = 1 << 30
"""The default for the size that all files of a copy may have together."""
MAX_FILES = 50_000
"""The default for the number of files and links in a copy."""
_GIT_TIMEOUT_S = 60.0
"""Seconds that git may take to list the files of a project."""
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn"})
_CACHES = frozenset(
    {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", "node_modules"}
)
_FICLONE = 0x40049409
"""The request by which Linux lets one file share the blocks of another (``linux/fs.h``)."""
_Result = Literal["shared", "copied", "linked", "skipped", "left out"]
"""What was done with a path of the project.

``shared``: the file was copied, and shares its blocks with the original. ``copied``: the file was copied in full. ``linked``: the
link was copied. ``skipped``: the path is neither a file nor a link. ``left out``: the link leads out of the project.
"""


@dataclass(frozen=True)
class Scratch:
    """A copy of a project."""

    project: Path
    """The real path of the project."""
    folder: Path
    """The path of the copy."""
    n_files: int
    """The number of files and links in the copy."""
    n_bytes: int
    """The size in bytes of all files and links of the project that were to be copied."""
    shares_blocks: bool
    """Whether all files share their blocks with the originals, so that the copy takes hardly any space."""
    left_out: tuple[str, ...]
    """The paths, within the project, of links that lead out of it."""


@contextmanager
def scratch_copy(
    project: str | os.PathLike[str],
    *,
    also: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    parent: str | os.PathLike[str] | None = None,
) -> Iterator[Scratch]:
    """Copy the project, and yield a description of the copy, which exists until the block ends.

    Args:
        project: The folder of the project.
        also: Paths within the project that are copied although git ignores them, such as a generated ``_version.py``.
        max_bytes: The size that all files together may have.
        max_files: The number of files and links that there may be.
        parent: The folder in which the copy is made. By default it is a folder of this user among the temporary files. Files can
            share blocks only within one file system.

    Raises UsageError if the project is not a folder or is larger than allowed, or if git does not list its files in time, and
    SandboxError if others may write in ``parent``.
    """
    root = Path(os.path.realpath(project))
    if not os.path.isdir(root):
        raise UsageError(f"{project} is not a folder; a scratch copy is made of the folder of a project")
    paths = _paths_to_copy(root, also)
    n_bytes = _require_size(root, paths, max_bytes, max_files)
    with owned_folder(Path(parent) if parent else default_parent(), "scratch") as owned:
        folder = owned / root.name
        folder.mkdir()
        results = [_copy(root, folder, path) for path in paths]
        left_out = tuple(path for path, result in zip(paths, results, strict=True) if result == "left out")
        n_files = sum(result not in ("skipped", "left out") for result in results)
        yield Scratch(root, folder, n_files, n_bytes, "copied" not in results, left_out)


def _paths_to_copy(root: Path, also: Sequence[str]) -> list[str]:
    """Return the paths of the files and links to copy, relative to ``root`` and sorted."""
    listed = _listed_by_git(root)
    paths = set(_files_below(root, "")) if listed is None else set(listed)
    for path in also:
        if os.path.isabs(path) or ".." in Path(path).parts or not os.path.lexists(root / path):
            raise UsageError(f"also holds {path!r}, which is not the path of something within {root}")
        paths.add(os.path.normpath(path))
    folders = [path for path in paths if _is_folder(root / path)]  # git lists a repository in the project as one path
    return sorted(paths.difference(folders).union(*(_files_below(root, path) for path in folders)))


def _listed_by_git(root: Path) -> list[str] | None:
    """Return the paths that git tracks or would add, or None if the project is not under git.

    Git is told to start no program that the project's own configuration names. Raises UsageError if it does not answer in time.
    """
    git = shutil.which("git")
    if git is None:
        return None
    no_programs = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    command = [git, *no_programs, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    # Variables such as GIT_DIR would send git to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"git did not list the files of {root} within {_GIT_TIMEOUT_S:g} s",
            hint=f"try it yourself: git -C {root} ls-files",
        ) from None
    if done.returncode:
        return None
    paths = [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]
    return [path.rstrip("/") for path in paths if os.path.lexists(root / path)]


def _files_below(root: Path, folder: str) -> Iterator[str]:
    """Yield the paths of all files and links below a folder of the project, except in folders that are not the project's own.

    ``folder`` and the paths are relative to ``root``.
    """
    for current, folders, files in os.walk(root / folder):
        relative = os.path.relpath(current, root)
        links = [name for name in folders if os.path.islink(os.path.join(current, name))]
        # os.walk goes on to the folders that are left in this list.
        folders[:] = [name for name in folders if name not in links and _is_own(Path(current, name))]
        for name in (*files, *links):
            yield os.path.normpath(os.path.join(relative, name))


def _is_own(folder: Path) -> bool:
    """Return whether a folder is neither a cache nor a virtual environment nor the store of a version control system."""
    return folder.name not in _VERSION_CONTROL | _CACHES and not os.path.exists(folder / "pyvenv.cfg")


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _require_size(root: Path, paths: Sequence[str], max_bytes: int, max_files: int) -> int:
    """Return the number of bytes to copy. Raises UsageError if there are too many bytes or too many files."""
    if len(paths) > max_files:
        raise UsageError(
            f"{root} holds {len(paths):,} files to copy; at most {max_files:,} are allowed",
            hint="name folders that the tests do not need in .gitignore",
        )
    sizes = {path: (root / path).lstat().st_size for path in paths}
    total = sum(sizes.values())
    if total > max_bytes:
        largest = max(sizes, key=lambda path: sizes[path])
        raise UsageError(
            f"{root} holds {total:,} bytes to copy; at most {max_bytes:,} are allowed. "
            f"The largest file is {largest} with {sizes[largest]:,}",
            hint="name files that the tests do not need in .gitignore",
        )
    return total


def _copy(root: Path, folder: Path, path: str) -> _Result:
    """Copy one file or link of the project into ``folder``, and return what was done."""
    source, target = root / path, folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        return _copy_link(root, source, target)
    if not stat.S_ISREG(mode):
        return "skipped"
    return _copy_file(source, target)


def _copy_link(root: Path, source: Path, target: Path) -> _Result:
    """Copy a link, unless it leads out of the project.

    If its text names a file of the project by a way that leads out of the project, such as the absolute path, the copied link gets
    a relative text, which leads to the copy of that file.
    """
    destination, text = Path(os.path.realpath(source)), os.readlink(source)
    if not destination.is_relative_to(root):
        return "left out"
    named = Path(os.path.normpath(source.parent / text))
    if os.path.isabs(text) or not named.is_relative_to(root):
        text = os.path.relpath(destination, source.parent)
    os.symlink(text, target)
    return "linked"


def _copy_file(source: Path, target: Path) -> _Result:
    """Copy a file with its times and mode. The owner may always write the copy."""
    with (
        open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as original,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy,
    ):
        status = os.fstat(original.fileno())
        shared = _share_blocks(original.fileno(), copy.fileno())
        if not shared:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
        os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode) & 0o777 | 0o200)
        os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    return "shared" if shared else "copied"


def _share_blocks(original: int, copy: int) -> bool:
    """Let the file ``copy`` share the blocks of ``original``, and return whether the file system can do that.

    Raises OSError if the disk is full or broken, where an ordinary copy would fail as well.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(copy, _FICLONE, original)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True
