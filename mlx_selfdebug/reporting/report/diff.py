"""What changed from one code to another, line by line, the changed words marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

MOST_LINES = 400
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class DiffLine:
    """``sign``: "+" added, "-" taken away, " " kept. ``parts`` are (text, whether it changed), in order."""

    sign: str
    parts: tuple[tuple[str, bool], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def diff_lines(before: str, after: str) -> list[DiffLine]:
    """Every line of both; at most ``MOST_LINES`` of each are looked at."""
    old, new = before.splitlines()[:MOST_LINES], after.splitlines()[:MOST_LINES]
    found: list[DiffLine] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [DiffLine(" ", ((line, False),)) for line in old[a:b]]
        else:
            found += _replaced(old[a:b], new[c:d])
    return found


def _replaced(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """Lines taken away, then those in their place; a line is held against the one at the same place."""
    pairs = list(zip_longest(old, new))
    yield from (DiffLine("-", _words(one, other)) for one, other in pairs if one is not None)
    yield from (DiffLine("+", _words(one, other)) for other, one in pairs if one is not None)


def _words(line: str, other: str | None) -> tuple[tuple[str, bool], ...]:
    """``line`` in parts that ``other`` has too and parts that it has not."""
    if other is None:
        return ((line, False),)
    mine, theirs = _WORDS.findall(line), _WORDS.findall(other)
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    if matcher.ratio() < 0.4:
        return ((line, False),)
    return tuple(("".join(mine[a:b]), kind != "equal") for kind, a, b, _, _ in matcher.get_opcodes() if b > a)
