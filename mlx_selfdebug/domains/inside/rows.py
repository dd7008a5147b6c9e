"""Compare the rows of two query results. This becomes part of the checks of a test run.

The differences are told to a model in the words chosen here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf as inf  # The source of expected rows may use inf and nan.
from math import nan as nan
from typing import Any

from mlx_selfdebug.domains.inside.tolerance import equal_numbers

Row = Sequence[Any]

MAX_SHOWN = 3
"""The maximum number of missing rows that are shown, and of rows that were not expected."""
MAX_CELL_CHARS = 40
RELATIVE = 1e-6
"""The tolerance for floats, relative to their size. It is this large because DuckDB's REAL has only seven digits."""


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
        return "a number is a little off: " + first_difference(sorted_got, sorted_expected)
    rows = {key(row): row for row in (*got, *expected)}
    parts = [f"{counted(len(expected), 'row')} expected, got {len(got)}"]
    parts += [f"missing: {shown(rows[row_key] for row_key in missing.elements())}"] if missing else []
    parts += [f"not expected: {shown(rows[row_key] for row_key in extra.elements())}"] if extra else []
    return "; ".join(parts)


def key(row: Row) -> tuple[Any, ...]:
    """Return a hashable form of the row, which is nearly always the same for rows whose numbers count as equal."""
    return tuple(hashable(value) for value in row)


def hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return key(value)
    if isinstance(value, dict):
        return key([*value.items()])
    if isinstance(value, bool) or value != value:
        return "", repr(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.9g}") if isinstance(value, float) else value


def sort_key(row: Row) -> str:
    return repr(key(row))


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(alike, a, b))


def alike(a: Any, b: Any) -> bool:
    """Return whether two cells, or all their parts, are equal."""
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
    """Return the first rows as text, and how many more there are."""
    in_order = sorted(rows, key=sort_key)
    text = ", ".join(map(row_text, in_order[:MAX_SHOWN]))
    return text if len(in_order) <= MAX_SHOWN else f"{text} and {len(in_order) - MAX_SHOWN} more"


def first_difference(got: Sequence[Row], expected: Sequence[Row]) -> str:
    """Return the first row that differs, as it should be and as it is. There are as many rows as expected."""
    index = next((i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if not alike(a, b)), 0)
    return f"row {index + 1} is {row_text(expected[index])}, not {row_text(got[index])}"


def row_text(row: Row) -> str:
    texts = ("NULL" if value is None else repr(value) for value in row)
    cut = (text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..." for text in texts)
    return f"({', '.join(cut)})"


def counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
