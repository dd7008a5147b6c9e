"""Compare the rows that a query returned with the expected rows. This file becomes part of the checks of a test run.

A model is told the differences in the words that ``difference`` returns:

>>> difference([["rose", 3]], [["rose", 3], ["lily", None]], ordered=False)
"2 rows expected, got 1; missing: ('lily', NULL)"
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf as inf  # The source of expected rows may use inf and nan.
from math import nan as nan
from typing import Any

from mlx_selfdebug.domains.inside.tolerance import equal_numbers

Row = Sequence[Any]
"""The cells of a row: values of Python, which may be lists and dictionaries for DuckDB."""

MAX_SHOWN = 3
"""The maximum number of missing rows that are shown, and of rows that were not expected."""
MAX_CELL_CHARS = 40
"""The maximum number of characters that are shown of a cell."""
RELATIVE = 1e-6
"""The tolerance for floats, relative to their size. It is this large because DuckDB's REAL has only seven digits."""
KEY_DIGITS = 9
"""The number of digits to which floats are rounded in a ``key``."""
MAX_EXACT_INT = 1e15
"""Floats of at least this size stay floats in a ``key``. Smaller whole floats are ints there, since all of them are exact."""


def difference(got: Any, expected: Sequence[Row], ordered: bool) -> str:
    """Return the differences in words, or an empty string if the rows are the same.

    With ``ordered``, the rows are compared one by one, and otherwise as a multiset. An int equals a float of the same value, but no
    boolean.
    """
    if type(got) is not list or any(type(row) is not list for row in got):
        return "no rows came back"
    wrong_widths = {len(row) for row in got} - {len(row) for row in expected}
    if wrong_widths and expected:
        return f"{counted(len(expected[0]), 'column')} expected, got {min(wrong_widths)}"
    sorted_got, sorted_expected = sorted(got, key=sort_key), sorted(expected, key=sort_key)
    if same(sorted_got, sorted_expected):
        is_in_order = not ordered or same(got, expected)
        return "" if is_in_order else "the right rows in the wrong order: " + first_difference(got, expected)
    n_got, n_expected = Counter(map(key, got)), Counter(map(key, expected))
    missing, extra = n_expected - n_got, n_got - n_expected
    if not missing and not extra:
        # The keys are the same, so the rows differ only in digits that a key rounds away.
        return "a number is a little off: " + first_difference(sorted_got, sorted_expected)
    rows = {key(row): row for row in (*got, *expected)}
    parts = [f"{counted(len(expected), 'row')} expected, got {len(got)}"]
    if missing:
        parts.append(f"missing: {shown(rows[row_key] for row_key in missing.elements())}")
    if extra:
        parts.append(f"not expected: {shown(rows[row_key] for row_key in extra.elements())}")
    return "; ".join(parts)


def key(row: Row) -> tuple[Any, ...]:
    """Return a hashable form of the row, by which rows are counted and sorted.

    It is nearly always the same for two rows that ``difference`` takes for equal. Floats just beside a rounding limit are the
    exception.
    """
    return tuple(hashable(value) for value in row)


def hashable(value: Any) -> Any:
    """Return a hashable form of one cell."""
    if isinstance(value, list | tuple):
        return key(value)
    if isinstance(value, dict):
        return key([*value.items()])
    # In Python, True equals 1, and NaN does not equal itself. Their texts keep them apart from numbers.
    if isinstance(value, bool) or value != value:
        return "", repr(value)
    if not isinstance(value, float):
        return value
    if value.is_integer() and abs(value) < MAX_EXACT_INT:
        return int(value)
    return float(f"{value:.{KEY_DIGITS}g}")


def sort_key(row: Row) -> str:
    """Return a text by which any rows can be sorted, even if their cells are of types that cannot be compared."""
    return repr(key(row))


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Return whether two sequences of rows or cells have the same length and equal members."""
    return len(a) == len(b) and all(map(alike, a, b))


def alike(a: Any, b: Any) -> bool:
    """Return whether two rows or cells are equal, numbers within the tolerance."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return same(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return same([*a.items()], [*b.items()])
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return equal_numbers(a, b, RELATIVE)
    return bool(a == b)


def shown(rows: Iterable[Row]) -> str:
    """Return the first ``MAX_SHOWN`` rows as text, sorted, and how many more there are."""
    in_order = sorted(rows, key=sort_key)
    text = ", ".join(map(row_text, in_order[:MAX_SHOWN]))
    return text if len(in_order) <= MAX_SHOWN else f"{text} and {len(in_order) - MAX_SHOWN} more"


def first_difference(got: Sequence[Row], expected: Sequence[Row]) -> str:
    """Return the first row that differs, as it should be and as it is. There are as many rows as expected."""
    index = next((i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if not alike(a, b)), 0)
    return f"row {index + 1} is {row_text(expected[index])}, not {row_text(got[index])}"


def row_text(row: Row) -> str:
    """Return a row as text: ``('rose', 3, NULL)``. Long cells are cut."""
    texts = ("NULL" if value is None else repr(value) for value in row)
    cut = (text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..." for text in texts)
    return f"({', '.join(cut)})"


def counted(n: int, word: str) -> str:
    """Return a number with its noun, such as "1 row" or "2 rows"."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
