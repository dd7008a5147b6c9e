"""The form of an edit: one stretch of a program's text is replaced by another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """The replacement of the characters from ``start`` to ``end`` by ``text``."""

    start: int
    end: int
    text: str
    operator: str
    """The kind of change, by which ``weights.py`` has a weight for it."""

    def applied(self, code: str) -> str:
        """Return ``code`` with the edit made.

        >>> Edit(7, 8, "-", "arithmetic").applied("return + 1")
        'return - 1'
        """
        return code[: self.start] + self.text + code[self.end :]
