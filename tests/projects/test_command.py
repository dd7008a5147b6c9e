"""The command that tests a project is read as a shell and Python would read it, and what runs no tests is refused."""

from __future__ import annotations

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.command import TestCommand


@pytest.mark.parametrize(
    ("text", "framework", "arguments"),
    [
        ("pytest -q tests", "pytest", ("-q", "tests")),
        ("python -m pytest 'a b.py'", "pytest", ("a b.py",)),
        ("python3 -m unittest", "unittest", ()),
        ("python -m unittest discover -s tests -t .", "unittest", ("discover", "-s", "tests", "-t", ".")),
        ("python check.py --fast", "script", ("check.py", "--fast")),
        ("/usr/bin/python3.12 check.py", "script", ("check.py",)),
        ("pythonw check.py", "script", ("check.py",)),
        ("python_checks.py --fast", "script", ("python_checks.py", "--fast")),
        ("python -m checks all", "script", ("-m", "checks", "all")),
    ],
)
def test_a_test_command_is_read(text: str, framework: str, arguments: tuple[str, ...]) -> None:
    assert TestCommand.parse(text) == TestCommand(framework, arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["make test", "python", "python -m", "-m", "python_checks", "pytest 'a", " "])
def test_what_is_no_test_command_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as error:
        TestCommand.parse(text)
    assert "--test" in str(error.value.hint)
