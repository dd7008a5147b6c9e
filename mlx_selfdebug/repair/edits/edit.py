"""An edit: one stretch of a program's text replaced by another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replaces the characters from ``start`` to ``end`` by ``text``. ``operator`` names the kind of change."""

    start: int
    end: int
    text: str
    operator: str

    def applied(self, code: str) -> str:
        """Return ``code`` with the edit made.

        >>> Edit(7, 8, "-", "arithmetic").applied("return + 1")
        'return - 1'
        """
        return code[: self.start] + self.text + code[self.end :]
