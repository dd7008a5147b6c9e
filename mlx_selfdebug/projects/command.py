"""Parse the command that tests a project.

>>> TestCommand.parse("python -m pytest -q tests")
TestCommand(framework='pytest', arguments=('-q', 'tests'))
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import Literal

from mlx_selfdebug.errors import UsageError

Framework = Literal["", "pytest", "unittest", "script"]
"""What runs the tests: a test framework, or a "script" that is a test by itself. "" is pytest if it is installed, else unittest."""
_INTERPRETER = re.compile(r"pythonw?[\d.]*")
"""Matches the name of a Python interpreter, such as "python3.12"."""


@dataclass(frozen=True)
class TestCommand:
    """The command that tests a project."""

    framework: Framework = ""
    arguments: tuple[str, ...] = ()
    """The arguments of the framework, or the command line of the script without the interpreter."""

    # The name begins with "Test", so that pytest would otherwise take this for a class of tests.
    __test__ = False

    @classmethod
    def parse(cls, text: str) -> TestCommand:
        """Parse a command line that a user has typed, such as "pytest -q tests" or "python -m unittest".

        Raises UsageError if the command runs neither pytest, nor unittest, nor a Python program.
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(
                f"--test {text!r} cannot be read: {error}", hint='for example: --test "pytest -q tests"'
            ) from error
        if words and _INTERPRETER.fullmatch(os.path.basename(words[0])):
            words = words[1:]
        if words[:1] == ["-m"]:
            words = words[1:] if words[1:2] in ([], ["pytest"], ["unittest"]) else words
        if not words:
            raise UsageError(
                "--test names no tests to run", hint='for example: --test "pytest -q tests/test_parser.py"'
            )
        if words[0] in ("pytest", "py.test"):
            return cls("pytest", tuple(words[1:]))
        if words[0] == "unittest":
            return cls("unittest", tuple(words[1:]))
        if words[0] != "-m" and not words[0].endswith(".py"):
            raise UsageError(
                f"--test {text!r}: {words[0]!r} cannot be run as tests; "
                "give pytest, unittest, or a Python program (check.py or -m NAME)",
                hint='for example: --test "pytest -q tests"',
            )
        return cls("script", tuple(words))
