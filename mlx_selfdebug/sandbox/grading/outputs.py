"""Compare the output of programs, and what an interactive session shows, with the expected text.

``outputs_match`` compares words as text, and also whole numbers: ``007``, ``+7`` and ``7.0`` are not ``7``. A number that is
expected with a point or an exponent is compared by its value, however it is written: ``+0.50`` and ``5e-1`` are ``0.5``, and ``1``
is ``1.0``. ``shows`` compares text only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError

RELATIVE = ABSOLUTE = Decimal("1e-6")
"""The tolerance for a number where the expected one is written with a decimal point or an exponent."""
LARGEST_DIFFERENCE = Decimal("1e-4")
"""However large the tolerance is, a number must differ by less than this, or by less than one unit in the last place of the
expected number, whichever is larger."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$", re.ASCII)
_MAX_NUMBER_CHARACTERS = 400
END = "(end of output)"
"""What is shown in place of a line where one of the texts has ended."""


@dataclass(frozen=True)
class Difference:
    """The first line in which an output differs from the expected text."""

    line: int
    """The number of the line, from 1."""
    expected: str
    got: str


def outputs_match(got: object, expected: str) -> bool:
    """Return whether the output matches the expected text. Raises OpaqueValueError if ``got`` is not a string."""
    return first_difference(_text(got), expected) is None


def first_difference(got: str, expected: str) -> Difference | None:
    """Return the first line that differs, or None if the texts match.

    Indentation, blank lines at the end and the amount of white space between words are ignored. Blank lines at the beginning count.
    """
    got_lines, expected_lines = _lines(got), _lines(expected)
    for index in range(max(len(got_lines), len(expected_lines))):
        line = got_lines[index] if index < len(got_lines) else None
        wanted = expected_lines[index] if index < len(expected_lines) else None
        if line is None or wanted is None or not _lines_match(line, wanted):
            return Difference(index + 1, END if wanted is None else wanted, END if line is None else line)
    return None


def shows(got: object, expected: str) -> bool:
    """Return whether a doctest with NORMALIZE_WHITESPACE and ELLIPSIS would accept ``got``.

    The amount of white space is ignored, and ``...`` stands for any text. Raises OpaqueValueError if ``got`` is not a string.
    """
    words, wanted = " ".join(_text(got).split()), " ".join(expected.split())
    if "..." not in wanted:
        return words == wanted
    return _with_gaps(words, wanted.split("..."))


def _with_gaps(text: str, pieces: list[str]) -> bool:
    """Return whether ``text`` holds the pieces in their order, starts with the first and ends with the last."""
    first, middle, last = pieces[0].rstrip(), pieces[1:-1], pieces[-1].lstrip()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in map(str.strip, middle):
        position = text.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


def _text(value: object) -> str:
    if type(value) is not str:
        raise OpaqueValueError("the value is not a string")
    return value


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")] if text.strip() else []


def _lines_match(line: str, expected: str) -> bool:
    if line == expected:
        return True
    tokens, expected_tokens = line.split(), expected.split()
    return len(tokens) == len(expected_tokens) and all(map(_tokens_match, tokens, expected_tokens))


def _tokens_match(token: str, expected: str) -> bool:
    if token == expected:
        return True
    if not set(expected) & set(".eE"):
        return False
    got, wanted = _number(token), _number(expected)
    if got is None or wanted is None:
        return False
    difference, last_place = abs(got - wanted), Decimal(1).scaleb(int(wanted.as_tuple().exponent))
    return difference <= max(ABSOLUTE, RELATIVE * abs(wanted)) and difference < max(last_place, LARGEST_DIFFERENCE)


def _number(token: str) -> Decimal | None:
    if len(token) > _MAX_NUMBER_CHARACTERS or not _NUMBER.match(token):
        return None
    try:
        return Decimal(token)
    except InvalidOperation:
        return None
