"""Locate a function of a project and the tests that judge it, as a value that is stored in a task.

A task holds only text, so the value is written as JSON into ``Task.data`` and read back when an answer is judged:

>>> place = Place("/home/me/shop", "/usr/bin/python3", "shop/prices.py", "total", tests=("tests/test_prices.py",), seconds=0.2)
>>> Place.from_json(place.to_json()) == place
True
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.command import TestCommand
from mlx_selfdebug.projects.project import Project


@dataclass(frozen=True)
class Place:
    """Where a function of a project is defined, and which tests judge it."""

    root: str
    """The absolute path of the project's folder."""
    python: str
    """The path of the interpreter that runs the tests."""
    file: str
    """The path of the file that defines the function, relative to ``root``."""
    function: str
    """The qualified name of the function, such as "Window.mean"."""
    tests: tuple[str, ...]
    """The paths of the test files that are loaded together to judge functions of this project, relative to ``root``."""
    seconds: float
    """The wall time in seconds that the tests of this function took, which includes loading the project."""

    @property
    def project(self) -> Project:
        """The project, which is tested with pytest. Raises UsageError if its folder no longer exists."""
        if not os.path.isdir(self.root):
            raise UsageError(
                f"the project {self.root} is not there; the tasks of a project are tested in the folder that they were made from",
                hint="make the tasks again, from the folder where it is now: functions:FOLDER",
            )
        return Project(Path(self.root), self.python, TestCommand("pytest"))

    def to_json(self) -> str:
        """Return the place as a JSON object, which ``from_json`` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Place:
        """Read what ``to_json`` has written.

        Raises UsageError if ``text`` is not such an object, or if it names a file outside of the project.
        """
        try:
            values = json.loads(text)
            place = cls(**{**values, "tests": tuple(values["tests"]), "seconds": float(values["seconds"])})
            outside = [name for name in (place.file, *place.tests) if not _is_inside(name)]
        except (ValueError, TypeError, KeyError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise UsageError(
                f"the data of a project's task cannot be read: {text[:60]!r}; it must be a JSON object with {names}",
                hint="make such tasks with functions:FOLDER",
            ) from error
        if outside:
            raise UsageError(
                f"the data of a project's task names {outside[0]!r}, but its files must be within the project",
                hint="make such tasks with functions:FOLDER",
            )
        return place


def _is_inside(path: str) -> bool:
    parts = PurePath(path)
    return not parts.is_absolute() and ".." not in parts.parts
