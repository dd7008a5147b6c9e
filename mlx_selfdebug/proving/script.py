"""Define what the readers of proof scripts share: their limits, and the errors that say what is refused, and where."""

from __future__ import annotations

MAX_CHARACTERS = 20_000
"""The largest length of a script."""


class ScriptError(ValueError):
    """A script that is not a proof script, or holds more than tactics."""

    def __init__(self, message: str, line: int = 0, source: str = "") -> None:
        super().__init__(message)
        self.line = line
        """The number of the line on which the trouble begins, from 1, or 0 if it has no place."""
        self.source = source
        """The sentence or the line that is refused, or an empty string."""


class UnreadableError(ValueError):
    """Source that cannot be split into its parts."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line
        """The number of the line on which the trouble begins, from 1."""


def require_short(script: str) -> None:
    """Raise ScriptError if a script is too long."""
    if len(script) > MAX_CHARACTERS:
        raise ScriptError(f"the script has {len(script):,} characters; at most {MAX_CHARACTERS:,} are allowed")


def end_of_comment(text: str, begin: int, opening: str, closing: str) -> int:
    """Return where the comment ends that begins at ``begin``. Comments may be nested. Raises UnreadableError if it does not end."""
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
    """Return the number of the line that holds position ``at``, from 1."""
    return text.count("\n", 0, at) + 1
