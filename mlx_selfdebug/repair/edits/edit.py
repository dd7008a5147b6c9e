"""Define ``Edit``, the replacement of one stretch of a program's text by another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """The replacement of the characters from ``start`` up to ``end`` by ``text``. If both are equal, ``text`` is inserted."""

    start: int
    end: int
    text: str
    operator: str
    """The kind of change, such as "comparison". ``weights.py`` has a weight for each kind."""

    def applied(self, code: str) -> str:
        """Return ``code`` with the edit made.

        >>> Edit(7, 8, "-", "arithmetic").applied("return + 1")
        'return - 1'
        """
        return code[: self.start] + self.text + code[self.end :]
