"""Small projects for the tests of ``fix``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from mlx_selfdebug.fixing import Project, TestCommand

STATS = '''"""Small statistics."""


def mean(values):
    """Return the arithmetic mean of the values, or 0.0 if there are none."""
    if not values:
        return 0.0
    return sum(values) / len(values)


def median(values):
    """Return the middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    n = len(ordered)
    if n % 2 == 1:
        return ordered[n // 2]
    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2


class Window:
    """Keeps the last values."""

    def __init__(self, size):
        self.size = size
        self.values = []

    def add(self, value):
        self.values.append(value)
        if len(self.values) > self.size:
            self.values.pop(0)
        return self
'''
TESTS = """import pytest
from pkg.stats import Window, mean, median


def test_mean():
    assert mean([1, 2, 3]) == 2


@pytest.mark.parametrize("values, expected", [([3, 1, 2], 2), ([4, 1, 3, 2], 2.5), ([1, 2], 1.5)])
def test_median(values, expected):
    assert median(values) == expected


def test_window():
    assert Window(2).add(1).add(2).add(3).values == [2, 3]
"""
FIXED_LINE = "    return (ordered[n // 2 - 1] + ordered[n // 2]) / 2"


def write_project(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files into a folder that is a project."""
    for name, content in {"pyproject.toml": "[project]\nname = 'p'\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def write_stats(folder: Path, **changed: str) -> Path:
    """Write the project of the median that is wrong."""
    return write_project(
        folder, {"pkg/__init__.py": "", "pkg/stats.py": STATS, "tests/test_stats.py": TESTS, **changed}
    )


def project_at(folder: Path, *arguments: str, framework: str = "pytest") -> Project:
    """Return a project that is tested with this interpreter."""
    command = TestCommand(framework, arguments)  # type: ignore[arg-type]
    return Project(folder.resolve(), sys.executable, command)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what all files below a folder hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
