"""Compares the output of programs, and what an interactive session shows, with the text that is expected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError

RELATIVE = ABSOLUTE = Decimal("1e-6")
"""How far a number may be off where the expected one is written with a point or an exponent."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$", re.ASCII)
_MAX_DIGITS = 400
END = "(end of output)"


@dataclass(frozen=True)
class Difference:
    """The first line that differs, counted from 1."""

    line: int
    expected: str
    got: str


def outputs_match(got: object, expected: str) -> bool:
    return first_difference(_text(got), expected) is None


def first_difference(got: str, expected: str) -> Difference | None:
    """Line by line, blind to white space at the ends of lines and of the text; tokens that are numbers by their value."""
    theirs, ours = _lines(got), _lines(expected)
    for index in range(max(len(theirs), len(ours))):
        line = theirs[index] if index < len(theirs) else None
        wanted = ours[index] if index < len(ours) else None
        if line is None or wanted is None or not _alike(line, wanted):
            return Difference(index + 1, END if wanted is None else wanted, END if line is None else line)
    return None


def shows(got: object, expected: str) -> bool:
    """What a doctest compares: blind to the amount of white space, and ``...`` stands for anything."""
    words, wanted = " ".join(_text(got).split()), " ".join(expected.split())
    if "..." not in wanted:
        return words == wanted
    return _with_gaps(words, wanted.split("..."))


def _with_gaps(text: str, pieces: list[str]) -> bool:
    """Whether the pieces stand in ``text`` in their order, the first at its start and the last at its end."""
    first, *middle, last = (piece.strip() if 0 < i < len(pieces) - 1 else piece for i, piece in enumerate(pieces))
    first, last = first.rstrip(), last.lstrip()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def _text(value: object) -> str:
    if type(value) is not str:
        raise OpaqueValueError("not a text")
    return value


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")] if text.strip() else []


def _alike(line: str, expected: str) -> bool:
    if line == expected:
        return True
    ours, theirs = expected.split(), line.split()
    return len(ours) == len(theirs) and all(map(_same_token, theirs, ours))


def _same_token(token: str, expected: str) -> bool:
    if token == expected:
        return True
    got, wanted = _number(token), _number(expected)
    if got is None or wanted is None:
        return False
    if not set(expected) & set(".eE"):
        return got == wanted
    return abs(got - wanted) <= max(ABSOLUTE, RELATIVE * abs(wanted))


def _number(token: str) -> Decimal | None:
    if len(token) > _MAX_DIGITS or not _NUMBER.match(token):
        return None
    try:
        return Decimal(token)
    except InvalidOperation:
        return None
