"""Read what a person types at a prompt, or what a pipe or a file holds, as commands and as tasks of several lines.

A line that begins with a slash is a command. All other lines make up a task, which ends with an empty line. As long as no line of
it is an example, an empty line is a part of it, and only a second empty line ends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import click

from mlx_selfdebug.errors import UsageError

PROMPT, MORE = "task> ", "    > "
"""The prompt for the first line of a task or for a command, and that for each further line."""
_WITHOUT_EXAMPLES = "(no example yet; another empty line asks for a draft that is not checked)"
_PASTE_AS_ONE = "set enable-bracketed-paste on"
"""Lets the line editor take a pasted text of several lines as one input, whose empty lines do not end the task."""


@dataclass(frozen=True)
class Command:
    """A line such as ``/task starter``."""

    name: str
    """The word behind the slash."""
    argument: str
    """What follows that word."""


class Prompt:
    """A reader of tasks and commands from stdin.

    ``has_example`` decides whether a text has a line that is an example. If stdin is a terminal, each line is asked for with a
    prompt, on stderr if stdout is not that terminal. Where Python has ``readline``, lines can be edited and recalled.
    """

    def __init__(self, has_example: Callable[[str], bool]) -> None:
        self._has_example = has_example
        self.is_interactive = sys.stdin.isatty()
        self._edits_lines = self.is_interactive and sys.stdout.isatty()
        self._lines: list[str] = []
        self._is_at_end = False
        if self._edits_lines:
            _load_editor()

    def read(self) -> str | Command | None:
        """Return the text of the next task, the next command, or None at the end of the input.

        A command ends a task that was being typed, which is dropped. Raises KeyboardInterrupt on Ctrl-C, after which ``drop``
        forgets the lines that were typed before it, and UsageError if the input is not text in UTF-8.
        """
        while not self._is_at_end:
            line = self._read_line()
            if line is None:
                self._is_at_end = True
                # In a terminal, Ctrl-D ends. In a file, the last task need not be followed by an empty line.
                return None if self.is_interactive else self._take_task()
            if line.lstrip().startswith("/"):
                self.drop()
                name, _, argument = line.strip()[1:].partition(" ")
                return Command(name, argument.strip())
            if line.strip():
                self._lines += line.split("\n")
            elif self._lines and (not self._lines[-1].strip() or self._has_example("\n".join(self._lines))):
                return self._take_task()
            elif self._lines:
                self._lines.append("")
                if self.is_interactive:
                    click.echo(f"{MORE}{_WITHOUT_EXAMPLES}", err=not self._edits_lines)
        return None

    def drop(self) -> None:
        """Forget the lines of a task that is not complete."""
        self._lines.clear()

    def _take_task(self) -> str | None:
        text = "\n".join(self._lines).strip("\n")
        self._lines.clear()
        return text or None

    def _read_line(self) -> str | None:
        """Return the next line, or the several lines of a paste, without the end; None at the end of the input."""
        prompt = MORE if self._lines else PROMPT
        if self._edits_lines:
            try:
                return input(prompt)
            except EOFError:
                click.echo()
                return None
        if self.is_interactive:
            click.echo(prompt, err=True, nl=False)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            self._is_at_end = True
            raise UsageError("the input is not text in UTF-8") from error
        return line.rstrip("\r\n") if line else None


def _load_editor() -> None:
    """Make ``input`` edit and recall lines, if Python was built with a line editor."""
    with suppress(ImportError):
        import readline

        # libedit, which some builds have in the place of GNU readline, does not know this setting and would complain.
        if "libedit" not in (readline.__doc__ or ""):
            readline.parse_and_bind(_PASTE_AS_ONE)
