"""Describe where a function of a project is and how it is tested, as text that a task can carry.

>>> place = Place("/home/me/shop", "/usr/bin/python3", "shop/prices.py", "total", tests=("tests/test_prices.py",), seconds=0.2)
>>> Place.read(place.text()) == place
True
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.project import Project, TestCommand


@dataclass(frozen=True)
class Place:
    """The place of a function in a project, with its tests and the time that they take."""

    root: str
    """The path of the project."""
    python: str
    """The path of the interpreter that runs the tests."""
    file: str
    """The path of the function's file within the project."""
    function: str
    """The qualified name of the function, such as "Window.mean"."""
    tests: tuple[str, ...]
    """The files of tests, within the project, that are collected together."""
    seconds: float
    """The seconds that the tests of this function took, loading the project included."""

    @property
    def project(self) -> Project:
        """Return the project. Raises UsageError if it is gone."""
        if not Path(self.root).is_dir():
            raise UsageError(
                f"the project {self.root} is not there; the tasks of a project are tested in the folder that they were made from",
                hint="make the tasks again, from the folder where it is now: functions:FOLDER",
            )
        return Project(Path(self.root), self.python, TestCommand("pytest"))

    def text(self) -> str:
        """Return the place as JSON, which ``read`` takes."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Place:
        """Return the place that ``text`` describes. Raises UsageError if it describes none."""
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


def _is_inside(name: str) -> bool:
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts
