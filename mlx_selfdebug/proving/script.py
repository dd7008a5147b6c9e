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
