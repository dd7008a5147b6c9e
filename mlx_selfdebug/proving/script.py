"""Define what the readers of proof scripts for Rocq and for Lean share: a limit, the two errors, and the search for comments."""

from __future__ import annotations

MAX_CHARACTERS = 20_000
"""The maximum length of a script."""


class ScriptError(ValueError):
    """The error of a proof script that is refused, because it cannot be read or holds more than tactics."""

    def __init__(self, message: str, line: int = 0, source: str = "") -> None:
        super().__init__(message)
        self.line = line
        """The number of the line to which the error belongs, from 1, or 0 if it belongs to the whole script."""
        self.source = source
        """The sentence or the line that is refused, or an empty string if it is not a single one."""


class UnreadableError(ValueError):
    """The error of source in which a comment, a string or the last sentence does not end."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line
        """The number of the line on which this part begins, from 1."""


def require_short(script: str) -> None:
    """Raise ScriptError if a script is too long."""
    if len(script) > MAX_CHARACTERS:
        raise ScriptError(f"the script has {len(script):,} characters; at most {MAX_CHARACTERS:,} are allowed")


def end_of_comment(text: str, begin: int, opening: str, closing: str) -> int:
    """Return the position after the end of the comment that begins at ``begin``. Comments may be nested.

    ``opening`` and ``closing`` are the signs around a comment, such as ``(*`` and ``*)``. Raises UnreadableError if it does not
    end.
    """
    depth, at = 0, begin
    while at < len(text):
        if text.startswith(opening, at):
            depth, at = depth + 1, at + len(opening)
        elif text.startswith(closing, at):
            depth, at = depth - 1, at + len(closing)
            if not depth:
                return at
        else:
            at += 1
    raise UnreadableError("a comment does not end", line_of(text, begin))


def line_of(text: str, at: int) -> int:
    """Return the number of the line, from 1, that holds the position ``at``, from 0."""
    return text.count("\n", 0, at) + 1
