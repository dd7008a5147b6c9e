"""Compare two codes line by line, and mark the words that changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

MAX_LINES = 400
"""How many lines of each code are compared."""
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class DiffLine:
    """One line of a diff."""

    sign: str
    """Either "+" for an added line, "-" for a removed one, or " " for one that is kept."""
    parts: tuple[tuple[str, bool], ...]
    """The line's text in parts, each with whether it changed."""

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def diff_lines(before: str, after: str) -> list[DiffLine]:
    """Return all lines of both codes as a diff. Lines after the first ``MAX_LINES`` of each are left out."""
    old, new = before.splitlines()[:MAX_LINES], after.splitlines()[:MAX_LINES]
    lines: list[DiffLine] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [DiffLine(" ", ((line, False),)) for line in old[a:b]]
        else:
            lines += _replaced(old[a:b], new[c:d])
    return lines


def _replaced(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """Yield the removed lines, then the added ones. Each is compared with the line at the same position on the other side."""
    pairs = list(zip_longest(old, new))
    yield from (DiffLine("-", _words(removed, added)) for removed, added in pairs if removed is not None)
    yield from (DiffLine("+", _words(added, removed)) for removed, added in pairs if added is not None)


def _words(line: str, other: str | None) -> tuple[tuple[str, bool], ...]:
    """Split ``line`` into parts that ``other`` has too and parts that it does not have."""
    if other is None:
        return ((line, False),)
    words = _WORDS.findall(line)
    matcher = SequenceMatcher(None, words, _WORDS.findall(other), autojunk=False)
    # Where two lines have little in common, marks on nearly every word would say nothing.
    if matcher.ratio() < 0.4:
        return ((line, False),)
    return tuple(("".join(words[a:b]), kind != "equal") for kind, a, b, _, _ in matcher.get_opcodes() if b > a)
