"""Find the project that a user means: its folder, its interpreter, the command that tests it, and the files that may be changed.

Nothing of the project is run here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.command import TestCommand

ROOT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", ".git", ".hg")
"""Files and folders that mark the top folder of a project."""
VIRTUAL_ENVIRONMENTS = (".venv", "venv", "env", ".env")
"""The usual names of a project's virtual environment, in the order in which they are tried."""
_FOLDERS_WITHOUT_SOURCES = frozenset(
    {"node_modules", "build", "dist", "site-packages", "vendor", "_vendor", "vendored", "third_party"}
)
"""Names of folders whose files are generated, or copied from other projects."""
_TEST_FOLDERS = frozenset({"test", "tests", "testing"})


@dataclass(frozen=True)
class Project:
    """A project of the user, with all that is needed to test it."""

    root: Path
    """The project's folder, as an absolute path without symbolic links."""
    python: str
    """The path of the interpreter that runs the tests."""
    command: TestCommand = field(default_factory=TestCommand)
    paths: tuple[str, ...] = ()
    """The files and folders to which changes are limited, relative to ``root``. An empty tuple means no limit."""

    @classmethod
    def find(
        cls,
        paths: Sequence[str | os.PathLike[str]] = (),
        *,
        test: str = "",
        python: str | os.PathLike[str] = "",
    ) -> Project:
        """Find the project that files or folders belong to.

        Args:
            paths: The files and folders to which changes are limited. Without any, the project around the working folder is taken,
                and every source file of it may be changed.
            test: The command that tests the project, such as "pytest -q tests".
            python: The interpreter that runs the tests, as a path or as the name of a program. By default it is the one of the
                project's virtual environment, of the active environment, or the one that runs this package, in this order.

        Raises UsageError if a path is missing, is not a Python file or holds only files that are never changed, such as tests; if
        the paths belong to different projects or to none; or if ``test`` or ``python`` cannot be used.
        """
        real_paths = [_existing(path) for path in paths]
        roots = {_root_of(path) for path in real_paths or [Path(os.path.realpath(os.curdir))]}
        if len(roots) > 1:
            raise UsageError("the paths belong to different projects: " + ", ".join(sorted(map(str, roots))))
        (root,) = roots
        # A limit to the whole project is no limit, whatever other paths are given.
        inside = () if root in real_paths else tuple(str(path.relative_to(root)) for path in real_paths)
        command = TestCommand.parse(test) if test else TestCommand()
        project = cls(root, _python_of(root, str(python)), command, inside)
        project._require_sources()
        return project

    def sources(self) -> list[str]:
        """Return the Python files that may be changed, relative to ``root`` and sorted.

        Only files within ``paths`` are listed; if ``paths`` is empty, all are. Tests and generated or vendored code are left out.
        """
        names = sorted(name for name in self._python_files() if not serves_tests_or_builds(name))
        return [name for name in names if not self.paths or any(_is_within(name, path) for path in self.paths)]

    def _require_sources(self) -> None:
        """Raise UsageError if there is nothing in one of ``paths`` that may be changed."""
        names = self.sources() if self.paths else []
        for path in self.paths:
            if not any(_is_within(name, path) for name in names):
                raise UsageError(
                    f"{path} holds no code that may be changed: tests, hidden folders, and generated or vendored code are left out",
                    hint="give the files or folders whose functions the tests call",
                )

    def _python_files(self) -> Iterator[str]:
        """Yield the Python files in the folders that may hold sources, relative to ``root``."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if _is_source_folder(Path(folder, name))]
            for name in files:
                if name.endswith(".py"):
                    yield os.path.relpath(os.path.join(folder, name), self.root)


def serves_tests_or_builds(name: str) -> bool:
    """Return whether a file of a project holds tests, fixtures, or other code that only tests and builds need.

    ``name`` is the path of the file, relative to the project's folder.
    """
    *folders, file = Path(name).parts
    return (
        file.startswith("test_")
        or file.endswith("_test.py")
        or file in ("conftest.py", "test.py", "tests.py", "setup.py", "noxfile.py")
        or not _TEST_FOLDERS.isdisjoint(folders)
    )


def _is_within(name: str, path: str) -> bool:
    return Path(name).is_relative_to(path)


def _is_source_folder(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name == "__pycache__" or folder.name.endswith(".egg-info")
    return not hidden and folder.name not in _FOLDERS_WITHOUT_SOURCES and not os.path.exists(folder / "pyvenv.cfg")


def _existing(path: str | os.PathLike[str]) -> Path:
    """Return the real path of a folder or a Python file that a user has named. Raises UsageError if it is neither."""
    real = Path(os.path.realpath(path))
    if not os.path.exists(real):
        raise UsageError(f"{os.fspath(path)} does not exist, or may not be read; give files or folders of a project")
    if os.path.isfile(real) and real.suffix != ".py":
        kind = "a notebook" if real.suffix == ".ipynb" else "not a Python file"
        raise UsageError(f"{os.fspath(path)} is {kind}; only functions in .py files can be repaired")
    return real


def _root_of(path: Path) -> Path:
    """Return the nearest folder around ``path`` that holds one of ``ROOT_FILES``, or else the folder of ``path`` itself.

    The home folder and the folders above it are never taken for a project, whatever they hold: the whole project is copied before
    its tests run. Raises UsageError if one of them is the folder of ``path``.
    """
    folder = path if os.path.isdir(path) else path.parent
    home = Path(os.path.realpath(os.path.expanduser("~")))
    no_projects = {home, *home.parents}
    if folder in no_projects:
        kind = "your home folder" if folder == home else "a folder above your home folder"
        raise UsageError(
            f"{folder} is {kind}, which is not taken for a project",
            hint="put the file and its tests into a folder of their own",
        )
    for parent in (folder, *folder.parents):
        if parent in no_projects:
            break
        # Unlike Path.exists, this does not raise where a folder may not be read.
        if any(os.path.exists(parent / name) for name in ROOT_FILES):
            return parent
    return folder


def _python_of(root: Path, python: str) -> str:
    """Return the path of the interpreter: ``python`` if it is given, else that of a virtual environment, else our own."""
    if python:
        return _named_python(root, python)
    active = os.environ.get("VIRTUAL_ENV")
    folders = [*(root / name for name in VIRTUAL_ENVIRONMENTS), *([Path(active)] if active else [])]
    interpreters = (folder / "bin" / "python" for folder in folders if os.path.exists(folder / "pyvenv.cfg"))
    return next((str(path) for path in interpreters if os.access(path, os.X_OK)), sys.executable)


def _named_python(root: Path, python: str) -> str:
    """Return the path of the interpreter with this path or name. Raises UsageError if there is none.

    What has a name may be a script, such as those of pyenv, which chooses an interpreter by the folder. So it is asked which one it
    runs, without anything of the project being imported.
    """
    program = shutil.which(python)
    if program is not None and os.sep not in python:
        command = [program, "-I", "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        program = done.stdout.strip() or None
    if program is None:
        raise UsageError(f"--python {python} is not a program; give the interpreter that runs the project's tests")
    return os.path.abspath(program)
