"""Compare rows, on the trusted side of a test run. A model is told the differences in the words that are chosen here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf as inf  # expected rows may name these two
from math import nan as nan
from typing import Any

from mlx_selfdebug.domains.inside.tolerance import equal_numbers

Row = Sequence[Any]

MAX_SHOWN = 3
"""The number of missing rows, and of extra rows, that are shown."""
MAX_CELL_CHARS = 40
RELATIVE = 1e-6
"""The tolerance for numbers with a fraction. It is so large because DuckDB's REAL has seven digits."""


def difference(got: Any, expected: Sequence[Row], ordered: bool) -> str:
    """Return what differs, or an empty string if the rows are the same: one by one if ``ordered``, otherwise as a multiset.

    A whole number equals a float of the same value, but no boolean.
    """
    if type(got) is not list or any(type(row) is not list for row in got):
        return "no rows came back"
    widths = {len(row) for row in got} - {len(row) for row in expected}
    if widths and expected:
        return f"{counted(len(expected[0]), 'column')} expected, got {min(widths)}"
    sorted_got, sorted_expected = sorted(got, key=in_order), sorted(expected, key=in_order)
    if same(sorted_got, sorted_expected):
        in_place = not ordered or same(got, expected)
        return "" if in_place else "the right rows in the wrong order: " + listed(got, expected)
    mine, theirs = Counter(map(key, got)), Counter(map(key, expected))
    missing, extra = theirs - mine, mine - theirs
    if not missing and not extra:
        return "a number is a little off: " + listed(sorted_got, sorted_expected)
    rows = {key(row): row for row in (*got, *expected)}
    parts = [f"{counted(len(expected), 'row')} expected, got {len(got)}"]
    parts += [f"missing: {shown(rows[name] for name in missing.elements())}"] if missing else []
    parts += [f"not expected: {shown(rows[name] for name in extra.elements())}"] if extra else []
    return "; ".join(parts)


def key(row: Row) -> tuple[Any, ...]:
    """Return the row in a form that can be counted, and in which equal numbers are nearly always the same."""
    return tuple(countable(value) for value in row)


def countable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return key(value)
    if isinstance(value, dict):
        return key([*value.items()])
    if isinstance(value, bool) or value != value:
        return "", repr(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.9g}") if isinstance(value, float) else value


def in_order(row: Row) -> str:
    return repr(key(row))


def same(mine: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return len(mine) == len(theirs) and all(map(alike, mine, theirs))


def alike(a: Any, b: Any) -> bool:
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
    in_turn = sorted(rows, key=in_order)
    text = ", ".join(map(cells, in_turn[:MAX_SHOWN]))
    return text if len(in_turn) <= MAX_SHOWN else f"{text} and {len(in_turn) - MAX_SHOWN} more"


def listed(got: Sequence[Row], expected: Sequence[Row]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if not alike(a, b)), 0)
    return f"row {place + 1} is {cells(expected[place])}, not {cells(got[place])}"


def cells(row: Row) -> str:
    texts = ("NULL" if value is None else repr(value) for value in row)
    return (
        "("
        + ", ".join(text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..." for text in texts)
        + ")"
    )


def counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
