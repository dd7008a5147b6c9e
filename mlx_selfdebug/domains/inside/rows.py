"""Compares rows, on the trusted side of a test run. A model is told the differences in the words that are chosen here."""

from collections import Counter
from collections.abc import Sequence
from math import isclose, isnan
from typing import Any

Row = Sequence[Any]

MAX_SHOWN = 3
"""The number of missing rows, and of extra rows, that are shown."""
MAX_CELL_CHARS = 40


def difference(got: Any, expected: Sequence[Row], ordered: bool) -> str:
    """Return what differs, or an empty string if the rows are the same: one by one if ``ordered``, otherwise as a multiset.

    A whole number equals a float of the same value.
    """
    if type(got) is not list or any(type(row) is not list for row in got):
        return "no rows came back"
    widths = {len(row) for row in got} - {len(row) for row in expected}
    if widths and expected:
        return f"{counted(len(expected[0]), 'column')} expected, got {min(widths)}"
    mine, theirs = [key(row) for row in got], [key(row) for row in expected]
    if mine == theirs or (not ordered and same(sorted(mine, key=repr), sorted(theirs, key=repr))) or same(mine, theirs):
        return ""
    missing, extra = Counter(theirs) - Counter(mine), Counter(mine) - Counter(theirs)
    if not missing and not extra:
        return "the right rows in the wrong order: " + listed(got, expected)
    parts = [f"{counted(len(expected), 'row')} expected, got {len(got)}"]
    parts += [f"missing: {shown(missing)}"] if missing else []
    parts += [f"not expected: {shown(extra)}"] if extra else []
    return "; ".join(parts)


def key(row: Row) -> tuple[Any, ...]:
    return tuple(number(value) for value in row)


def number(value: Any) -> Any:
    if isinstance(value, float) and (isnan(value) or value == int(value)) and abs(value) < 1e15:
        return "NaN" if isnan(value) else int(value)
    return float(f"{value:.9g}") if isinstance(value, float) else value


def same(mine: Sequence[Row], theirs: Sequence[Row]) -> bool:
    pairs = zip(mine, theirs, strict=False)
    return len(mine) == len(theirs) and all(len(a) == len(b) and all(map(alike, a, b)) for a, b in pairs)


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return bool(a == b)


def shown(rows: Counter[tuple[Any, ...]]) -> str:
    in_order = sorted(rows.elements(), key=repr)
    text = ", ".join(map(cells, in_order[:MAX_SHOWN]))
    return text if len(in_order) <= MAX_SHOWN else f"{text} and {len(in_order) - MAX_SHOWN} more"


def listed(got: Sequence[Row], expected: Sequence[Row]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if key(a) != key(b)), 0)
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
