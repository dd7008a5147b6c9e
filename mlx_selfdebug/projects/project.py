"""Find a project: its folder, its interpreter, the command that tests it, and the files that may be changed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.sandbox.confinement.reach import virtual_environment

ROOT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", ".git", ".hg")
"""The names by which the folder of a project is recognised."""
VIRTUAL_ENVIRONMENTS = (".venv", "venv", "env", ".env")
_NO_SOURCES = frozenset(
    {"node_modules", "build", "dist", "site-packages", "vendor", "_vendor", "vendored", "third_party"}
)
_TEST_FOLDERS = frozenset({"test", "tests", "testing"})

Framework = Literal["", "pytest", "unittest", "script"]
"""How the tests are run; "" is pytest if the interpreter has it, else unittest."""


@dataclass(frozen=True)
class TestCommand:
    """The command that tests a project."""

    framework: Framework = ""
    arguments: tuple[str, ...] = ()

    # pytest would otherwise take a class of this name for a class of tests.
    __test__ = False

    @classmethod
    def parsed(cls, text: str) -> TestCommand:
        """Return the command that a user has typed, such as "pytest -q tests" or "python -m unittest".

        Raises UsageError if it is not a command of Python.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(
                f"--test {text!r} cannot be read: {error}", hint='for example: --test "pytest -q tests"'
            ) from error
        if words and os.path.basename(words[0]).startswith("python"):
            words = words[1:]
        if words[:1] == ["-m"]:
            words = words[1:] if words[1:2] in (["pytest"], ["unittest"]) else words
        if not words:
            raise UsageError("--test names no command", hint='for example: --test "pytest -q tests/test_parser.py"')
        if words[0] in ("pytest", "py.test", "unittest"):
            return cls("unittest" if words[0] == "unittest" else "pytest", tuple(_without_discover(words[1:])))
        if words[0] != "-m" and not words[0].endswith(".py"):
            raise UsageError(
                f"--test {text!r}: {words[0]!r} is not known. Known are pytest, unittest, and a Python program (check.py, -m NAME)",
                hint='for example: --test "pytest -q tests"',
            )
        return cls("script", tuple(words))


def _without_discover(words: Sequence[str]) -> Sequence[str]:
    return words[1:] if words[:1] == ["discover"] else words


@dataclass(frozen=True)
class Project:
    """A project that can be tested."""

    root: Path
    """The real path of its folder."""
    python: str
    """The path of its interpreter."""
    command: TestCommand = TestCommand()
    paths: tuple[str, ...] = ()
    """Files and folders within the project to which changes are limited, relative to ``root``; none means all."""

    @classmethod
    def found(
        cls,
        paths: Sequence[str | os.PathLike[str]] = (),
        *,
        test: str = "",
        python: str | os.PathLike[str] = "",
    ) -> Project:
        """Return the project that ``paths`` belong to, or that of the working folder. Raises UsageError if there is none."""
        real = [_existing(path) for path in paths] or [Path.cwd()]
        roots = {_root_of(path) for path in real}
        if len(roots) > 1:
            raise UsageError("the paths belong to different projects: " + ", ".join(sorted(map(str, roots))))
        (root,) = roots
        inside = tuple(str(path.relative_to(root)) for path in real if path != root)
        command = TestCommand.parsed(test) if test else TestCommand()
        return cls(root, _python_of(root, str(python)), command, inside)

    def sources(self) -> list[str]:
        """Return the Python files that may be changed, relative to ``root`` and sorted: no tests, nothing generated or vendored."""
        return sorted(name for name in self._python_files() if not is_test(name) and self._is_wanted(name))

    def _is_wanted(self, name: str) -> bool:
        return not self.paths or any(Path(name).is_relative_to(path) for path in self.paths)

    def _python_files(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if _is_source_folder(Path(folder, name))]
            for name in files:
                if name.endswith(".py"):
                    yield os.path.relpath(os.path.join(folder, name), self.root)


def is_test(name: str) -> bool:
    """Return whether a path within a project is that of a test or of what tests need."""
    *folders, file = Path(name).parts
    return (
        file.startswith("test_")
        or file.endswith("_test.py")
        or file in ("conftest.py", "test.py", "tests.py", "setup.py", "noxfile.py")
        or not _TEST_FOLDERS.isdisjoint(folders)
    )


def linked_folders(python: str, root: Path) -> list[str]:
    """Return the folders that the ``.pth`` files of a virtual environment name, such as those of editable installs.

    Those of the project at ``root`` are left out, since the tests see a copy of the project. So are lines that would run code, and
    the home folder with what is above it.
    """
    environment = virtual_environment(python)
    files = sorted(Path(environment).glob("lib/python*/site-packages/*.pth")) if environment else []
    lines = [line.strip() for file in files for line in file.read_text("utf-8", "replace").splitlines()]
    home = os.path.realpath(os.path.expanduser("~"))
    folders = {os.path.realpath(line) for line in lines if os.path.isabs(line) and os.path.isdir(line)}
    inside = {folder for folder in folders if os.path.commonpath([folder, root]) in (folder, str(root))}
    return sorted(folder for folder in folders - inside if os.path.commonpath([folder, home]) != folder)


def _is_source_folder(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name == "__pycache__" or folder.name.endswith(".egg-info")
    return not hidden and folder.name not in _NO_SOURCES and not (folder / "pyvenv.cfg").exists()


def _existing(path: str | os.PathLike[str]) -> Path:
    real = Path(os.path.realpath(path))
    if not real.exists():
        raise UsageError(f"{os.fspath(path)} does not exist; PATHS are files or folders of the project to repair")
    if real.is_file() and real.suffix != ".py":
        kind = "a notebook" if real.suffix == ".ipynb" else "no Python file"
        raise UsageError(f"{os.fspath(path)} is {kind}; only functions in .py files can be repaired")
    return real


def _root_of(path: Path) -> Path:
    """Return the folder of the project that a file or folder belongs to."""
    folder = path if path.is_dir() else path.parent
    home = Path(os.path.realpath(os.path.expanduser("~")))
    for parent in (folder, *folder.parents):
        if parent == home or parent == parent.parent:
            break
        if any((parent / name).exists() for name in ROOT_FILES):
            return parent
    return folder


def _python_of(root: Path, python: str) -> str:
    if python:
        if not os.access(python, os.X_OK) or os.path.isdir(python):
            raise UsageError(f"--python {python} is not a program; it is the interpreter that runs the project's tests")
        return os.path.abspath(python)
    active = os.environ.get("VIRTUAL_ENV")
    folders = [*(root / name for name in VIRTUAL_ENVIRONMENTS), *([Path(active)] if active else [])]
    found = (folder / "bin" / "python" for folder in folders if (folder / "pyvenv.cfg").exists())
    return next((str(path) for path in found if os.access(path, os.X_OK)), sys.executable)
