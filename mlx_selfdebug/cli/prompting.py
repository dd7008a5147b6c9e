"""Read commands and tasks from a prompt at which a person types, or from a pipe or a file.

A line that begins with a slash is a command. All other lines belong to a task of several lines:

    Return twice x.
    double(2) == 4
                        an empty line after an example ends the task
    /task starter       a command

In a task without any example, one empty line is a part of the task, and only a second one in a row ends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import click

from mlx_selfdebug.errors import UsageError

PROMPT, MORE = "task> ", "    > "
"""The prompt for a command or the first line of a task, and the prompt for each further line of a task."""
_WITHOUT_EXAMPLES = "(no example yet; another empty line asks for a draft that is not checked)"
_PASTE_AS_ONE = "set enable-bracketed-paste on"
"""A setting of ``readline``: a pasted text of several lines becomes one input, so its empty lines do not end the task."""


@dataclass(frozen=True)
class Command:
    """A command, such as ``/task starter``."""

    name: str
    """The word behind the slash: "task"."""
    argument: str
    """The rest of the line, without the space before it: "starter"."""


class Prompt:
    """A reader of tasks and commands from stdin.

    ``has_example`` decides whether a text has a line that is an example. If stdin is a terminal, each line is asked for with a
    prompt, which goes to stderr if stdout is no terminal. Where Python has ``readline``, lines can be edited and recalled.
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

        A command in the middle of a task drops the task. Raises KeyboardInterrupt on Ctrl-C; the lines that were typed before it
        are kept until ``drop`` is called. Raises UsageError if the input is not text in UTF-8.
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
            elif not self._lines:
                pass  # Empty lines before a task mean nothing.
            elif self._is_complete():
                return self._take_task()
            else:
                self._lines.append("")
                if self.is_interactive:
                    click.echo(f"{MORE}{_WITHOUT_EXAMPLES}", err=not self._edits_lines)
        return None

    def _is_complete(self) -> bool:
        """Return whether an empty line ends the task: it has an example, or its last line is empty, too."""
        return not self._lines[-1].strip() or self._has_example("\n".join(self._lines))

    def drop(self) -> None:
        """Forget the lines of a task that is not complete."""
        self._lines.clear()

    def _take_task(self) -> str | None:
        """Return the lines of the task as one text and forget them, or return None if there are none."""
        text = "\n".join(self._lines).strip("\n")
        self._lines.clear()
        return text or None

    def _read_line(self) -> str | None:
        """Return the next line, or all lines of a pasted text, without the last line end. Return None at the end of the input."""
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
