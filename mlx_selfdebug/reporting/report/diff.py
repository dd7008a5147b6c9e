"""Compare two programs line by line, and mark the words that changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

MAX_LINES = 400
"""The largest number of lines of each program that are compared."""
MIN_RATIO = 0.4
"""The least similarity of two lines, from 0 to 1, at which the words that changed are marked."""
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
"""Splits all of a line into words, runs of blanks, and single other characters."""


@dataclass(frozen=True)
class DiffLine:
    """One line of a diff."""

    sign: str
    """"+" for an added line, "-" for a removed line, or " " for a line that is kept."""
    parts: tuple[tuple[str, bool], ...]
    """The text of the line in parts, each with whether that part changed."""

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


def diff_lines(before: str, after: str) -> list[DiffLine]:
    """Return all lines of two programs as a diff.

    Lines after the first ``MAX_LINES`` of each program are left out. If there are any, a last line says so.
    """
    all_old, all_new = before.splitlines(), after.splitlines()
    old, new = all_old[:MAX_LINES], all_new[:MAX_LINES]
    lines: list[DiffLine] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [DiffLine(" ", ((line, False),)) for line in old[i1:i2]]
        else:
            lines += _hunk(old[i1:i2], new[j1:j2])
    if max(len(all_old), len(all_new)) > MAX_LINES:
        lines.append(DiffLine(" ", ((f"... (lines after the first {MAX_LINES} are not shown)", False),)))
    return lines


def _hunk(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """Yield the removed lines, then the added lines. Each is compared with the line at the same position on the other side."""
    pairs = list(zip_longest(old, new))
    yield from (DiffLine("-", _marked_parts(removed, added)) for removed, added in pairs if removed is not None)
    yield from (DiffLine("+", _marked_parts(added, removed)) for removed, added in pairs if added is not None)


def _marked_parts(line: str, other: str | None) -> tuple[tuple[str, bool], ...]:
    """Split ``line`` into parts, each with whether it is missing in ``other``, the line on the other side if there is one."""
    if other is None:
        return ((line, False),)
    tokens = _TOKEN.findall(line)
    matcher = SequenceMatcher(None, tokens, _TOKEN.findall(other), autojunk=False)
    # Where two lines have little in common, marks on nearly every word would say nothing.
    if matcher.ratio() < MIN_RATIO:
        return ((line, False),)
    return tuple(("".join(tokens[a:b]), tag != "equal") for tag, a, b, _, _ in matcher.get_opcodes() if b > a)
