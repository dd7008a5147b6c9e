"""Compare the output of a program, or what an interactive session shows, with the expected text.

``outputs_match`` compares words as text, whole numbers included: ``007``, ``+7`` and ``7.0`` do not match ``7``. Where the expected
number is written with a decimal point or an exponent, values are compared instead, with a tolerance: ``+0.50`` and ``5e-1`` match
``0.5``, and ``1`` matches ``1.0``. ``shows`` compares text only, as a doctest does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from mlx_selfdebug.sandbox.wire.codec import OpaqueValueError

TOLERANCE = Decimal("1e-6")
"""The tolerance for a number that is compared by its value, both absolute and relative to the expected number."""
MAX_DIFFERENCE = Decimal("1e-4")
"""The bound on the relative tolerance, which would otherwise accept a large number that is visibly wrong.

The two numbers must differ by less than this, or by less than one unit in the last place of the expected number, whichever is
larger.
"""
END = "(end of output)"
"""What stands in for a line after the end of one of the two texts."""

# A decimal number: digits before a point, after it or on both sides, and an exponent of at most three digits, since ``decimal``
# raises Overflow on numbers such as 1e9999999. Only ASCII digits count: ``\d`` would match those of every script, and Decimal reads
# them all.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_NUMBER_CHARS = 400
"""The maximum length of a word that is read as a number. With ``%f``, the largest float is written in 316 characters."""


@dataclass(frozen=True)
class Difference:
    """The first line in which an output differs from the expected text."""

    line: int
    """The number of the line, from 1."""
    expected: str
    """The line of the expected text, or ``END`` if that text has ended."""
    got: str
    """The line of the output, or ``END`` if the output has ended."""


def outputs_match(got: object, expected: str) -> bool:
    """Return whether the output matches the expected text. Raises OpaqueValueError if ``got`` is not a string."""
    return first_difference(_require_text(got), expected) is None


def first_difference(got: str, expected: str) -> Difference | None:
    """Return the first line in which the texts differ, or None if they match.

    Indentation, the amount of white space between words, and blank lines at the end are ignored. Blank lines elsewhere count.
    """
    got_lines, expected_lines = _lines(got), _lines(expected)
    for index in range(max(len(got_lines), len(expected_lines))):
        got_line = got_lines[index] if index < len(got_lines) else None
        expected_line = expected_lines[index] if index < len(expected_lines) else None
        if got_line is None or expected_line is None or not _lines_match(got_line, expected_line):
            return Difference(
                line=index + 1,
                expected=END if expected_line is None else expected_line,
                got=END if got_line is None else got_line,
            )
    return None


def shows(got: object, expected: str) -> bool:
    """Return whether a doctest with NORMALIZE_WHITESPACE and ELLIPSIS would accept ``got``.

    The amount of white space is ignored, and ``...`` stands for any text. Raises OpaqueValueError if ``got`` is not a string.
    """
    got_words, expected_words = " ".join(_require_text(got).split()), " ".join(expected.split())
    if "..." not in expected_words:
        return got_words == expected_words
    return _holds_in_order(got_words, expected_words.split("..."))


def _holds_in_order(text: str, pieces: list[str]) -> bool:
    """Return whether ``text`` holds at least two ``pieces`` in their order, starts with the first and ends with the last."""
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


def _require_text(value: object) -> str:
    if type(value) is not str:
        raise OpaqueValueError("the value is not a string")
    return value


def _lines(text: str) -> list[str]:
    """Return the lines without white space at their ends and without blank lines after the last one."""
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")] if text.strip() else []


def _lines_match(got: str, expected: str) -> bool:
    if got == expected:
        return True
    got_words, expected_words = got.split(), expected.split()
    return len(got_words) == len(expected_words) and all(map(_words_match, got_words, expected_words))


def _words_match(got: str, expected: str) -> bool:
    """Return whether two words match: as the same text, or as numbers if the expected one has a point or an exponent."""
    if got == expected:
        return True
    if not set(expected) & set(".eE"):  # a whole number is compared as text, like any other word
        return False
    got_number, expected_number = _number(got), _number(expected)
    if got_number is None or expected_number is None:
        return False
    difference = abs(got_number - expected_number)
    last_place = Decimal(1).scaleb(int(expected_number.as_tuple().exponent))
    tolerance = max(TOLERANCE, TOLERANCE * abs(expected_number))
    return difference <= tolerance and difference < max(last_place, MAX_DIFFERENCE)


def _number(word: str) -> Decimal | None:
    return Decimal(word) if len(word) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(word) else None
