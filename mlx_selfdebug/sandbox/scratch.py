"""Copy a project into a scratch folder, where a confined command may write, and remove the copy afterwards.

    with scratch_copy("project") as scratch:
        (scratch.folder / "src/module.py").write_text(patched)
        run_confined([python, "-m", "pytest"], folder=scratch.folder, seen_at=scratch.project)

A copy holds the files that git tracks and those that are new and not ignored. Without git it holds all but virtual environments,
caches and the folders of version control. Where the file system can, the files share their blocks with the originals until one of
the two is written. Links that lead out of the project are left out, and so is what is neither a file nor a folder nor a link.

A copy is removed when its block ends. If the program is killed before, the next copy removes it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.sandbox.owned_folders import default_parent, owned_folder

MAX_BYTES = 1 << 30
MAX_FILES = 50_000
_GIT_S = 60.0
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn"})
_CACHES = frozenset(
    {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", "node_modules"}
)
_SHARE_BLOCKS = 0x40049409
"""FICLONE, the request of Linux to let one file share the blocks of another."""


@dataclass(frozen=True)
class Scratch:
    """A copy of a project."""

    project: Path
    """The real path of the project."""
    folder: Path
    """The copy."""
    n_files: int
    n_bytes: int
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
    """Give a copy of the project that exists until the block ends.

    Args:
        project: The folder of the project.
        also: Paths within the project that are copied although git ignores them, such as a generated ``_version.py``.
        max_bytes: The size of all files together.
        max_files: The number of files and links.
        parent: The folder in which the copy is made. Files can share blocks only within one file system. By default it is a folder
            of this user among the temporary files.

    Raises UsageError if the project is not a folder or is larger than allowed, and SandboxError if others may write in ``parent``.
    """
    root = Path(os.path.realpath(project))
    if not root.is_dir():
        raise UsageError(f"{project} is not a folder; a scratch copy is made of the folder of a project")
    names = _names(root, also)
    n_bytes = _require_size(root, names, max_bytes, max_files)
    with owned_folder(Path(parent) if parent else default_parent(), "scratch") as owned:
        folder = owned / root.name
        folder.mkdir()
        copied = [_copy(root, folder, name) for name in names]
        left_out = tuple(name for name, how in zip(names, copied, strict=True) if how == "left out")
        yield Scratch(root, folder, len(names) - len(left_out), n_bytes, "copied" not in copied, left_out)


def _names(root: Path, also: Sequence[str]) -> list[str]:
    """Return the paths of the files and links to copy, sorted."""
    listed = _listed_by_git(root)
    names = set(_walked(root, "")) if listed is None else set(listed)
    for name in also:
        if os.path.isabs(name) or ".." in Path(name).parts or not os.path.lexists(root / name):
            raise UsageError(f"also holds {name!r}, which is no path of something within {root}")
        names.add(os.path.normpath(name))
    folders = [name for name in names if _is_folder(root / name)]
    return sorted(names.difference(folders).union(*(_walked(root, name) for name in folders)))


def _listed_by_git(root: Path) -> list[str] | None:
    """Return the paths that git tracks or would add, or None if the project is not under git.

    Git is told to start no program that the project's own configuration names.
    """
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [
        git,
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "ls-files",
        "-z",
        "--cached",
        "--others",
    ]
    done = subprocess.run(
        [*command, "--exclude-standard"], cwd=root, env=environment, capture_output=True, timeout=_GIT_S, check=False
    )
    if done.returncode:
        return None
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [name.rstrip("/") for name in names if os.path.lexists(root / name)]


def _walked(root: Path, inside: str) -> Iterator[str]:
    """Yield the paths of all files and links below a folder of the project, without what can be made again."""
    for folder, folders, files in os.walk(root / inside):
        here = os.path.relpath(folder, root)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in links and _is_own(Path(folder, name))]
        for name in (*files, *links):
            yield os.path.normpath(os.path.join(here, name))


def _is_own(folder: Path) -> bool:
    return folder.name not in _VERSION_CONTROL | _CACHES and not (folder / "pyvenv.cfg").exists()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _require_size(root: Path, names: Sequence[str], max_bytes: int, max_files: int) -> int:
    if len(names) > max_files:
        raise UsageError(
            f"{root} holds {len(names):,} files to copy; at most {max_files:,} are allowed",
            hint="name folders that the tests do not need in .gitignore",
        )
    sizes = {name: (root / name).lstat().st_size for name in names}
    total = sum(sizes.values())
    if total > max_bytes:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"{root} holds {total:,} bytes to copy; at most {max_bytes:,} are allowed. "
            f"The largest file is {largest} with {sizes[largest]:,}",
            hint="name files that the tests do not need in .gitignore",
        )
    return total


def _copy(root: Path, folder: Path, name: str) -> str:
    """Copy one file or link, and return how: "shared", "copied", "linked", "skipped" or "left out"."""
    source, target = root / name, folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        return _copy_link(root, source, target)
    if not stat.S_ISREG(mode):
        return "skipped"
    return _copy_file(source, target)


def _copy_link(root: Path, source: Path, target: Path) -> str:
    """Copy a link. One that names a file of the project by its whole path names the copy of that file afterwards."""
    aim, text = Path(os.path.realpath(source)), os.readlink(source)
    by_name = Path(os.path.normpath(source.parent / text))
    if not aim.is_relative_to(root):
        return "left out"
    if os.path.isabs(text) or not by_name.is_relative_to(root):
        text = os.path.relpath(aim, source.parent)
    os.symlink(text, target)
    return "linked"


def _copy_file(source: Path, target: Path) -> str:
    with (
        open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as original,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy,
    ):
        found = os.fstat(original.fileno())
        shared = _share_blocks(original.fileno(), copy.fileno())
        if not shared:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
        os.fchmod(copy.fileno(), stat.S_IMODE(found.st_mode) & 0o777 | 0o200)
        os.utime(copy.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
    return "shared" if shared else "copied"


def _share_blocks(original: int, copy: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(copy, _SHARE_BLOCKS, original)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True
