"""Data frames as plain values, and the comparison of two of them, on the trusted side of a test run.

A model is told the differences in the words that are chosen here.
"""

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any

MAX_SHOWN = 3
"""The number of differing cells that are shown."""
MAX_CELL_CHARS = 40
Column = tuple[str, str, list[Any]]
"""A name, a dtype and the values."""


def DataFrame(columns: Mapping[str, Sequence[Any]], dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: N802
    """Return a frame as plain values. The name is that of the libraries, so that a check reads like ordinary code.

    A column's dtype follows from its values: int, float, bool or str. All widths of integers are the same dtype. If the values do
    not show it, because there are none or all are missing, any dtype is right.
    """
    return {
        "frame": [
            [name, (dtypes or {}).get(name) or dtype_of(values), list(values)] for name, values in columns.items()
        ]
    }


def dtype_of(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return "float"
    return kinds.pop().__name__ if len(kinds) == 1 else "any"


def difference(got: Any, expected: Any) -> str:
    """Return what differs first, or an empty string if columns, dtypes and values are the same and in the same order."""
    if not is_frame(expected):
        return "" if alike(got, expected) else f"expected {short(expected)}, got {short(got)}"
    if not is_frame(got):
        return f"a DataFrame is expected, got {kind_of(got)}"
    mine: list[Column] = got["frame"]
    theirs: list[Column] = expected["frame"]
    names, wanted = [name for name, *_ in mine], [name for name, *_ in theirs]
    if names != wanted:
        return f"columns expected: {', '.join(wanted)}; got: {', '.join(map(str, names)) or 'none'}"
    types = [
        f"column {name} has dtype {dtype}, {right} is expected"
        for (name, dtype, _), (_, right, _) in zip(mine, theirs, strict=True)
        if "any" not in (dtype, right) and dtype != right
    ]
    sizes = len(mine[0][2]) if mine else 0, len(theirs[0][2]) if theirs else 0
    rows = [f"{sizes[1]} rows expected, got {sizes[0]}"] if sizes[0] != sizes[1] else []
    return "; ".join([*types, *rows, *cells(mine, theirs)])


def cells(mine: Sequence[Column], theirs: Sequence[Column]) -> list[str]:
    """Return the first cells that differ, row by row."""
    n_rows = min([len(values) for _, _, values in (*mine, *theirs)], default=0)
    differences = [
        f"row {row} of {name}: {short(right[row])} expected, got {short(values[row])}"
        for row in range(n_rows)
        for (name, _, values), (_, _, right) in zip(mine, theirs, strict=True)
        if not alike(values[row], right[row])
    ]
    n_more = len(differences) - MAX_SHOWN
    return differences[:MAX_SHOWN] + ([f"and {n_more} more cells"] if n_more > 0 else [])


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, int | float) or not isinstance(b, int | float):
        return type(a) is type(b) and bool(a == b)
    return isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def is_frame(value: Any) -> bool:
    return type(value) is dict and list(value) == ["frame"]


def kind_of(value: Any) -> str:
    if type(value) is dict and list(value) == ["series"]:
        return "a Series"
    return "nothing" if value is None else f"{type(value).__name__} {short(value)}"


def short(value: Any) -> str:
    text = "a missing value" if value is None else repr(value)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."
