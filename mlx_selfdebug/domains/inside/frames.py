"""Data frames as plain values, and how two differ, on the trusted side of a test run. What it says is what a model is told."""

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any

SHOWN = 3
CELL = 40
Column = tuple[str, str, list[Any]]


def DataFrame(columns: Mapping[str, Sequence[Any]], dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: N802
    """Named as the libraries have it, so that a check reads as code. A column's dtype follows from its values: int, float, bool or
    str; all integer widths are one. Of values that do not tell (none, or all missing) any dtype is right.
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
    """Empty if they are the same by columns, dtypes and values, in order; else what differs first."""
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
    """The first cells that differ, row by row."""
    n_rows = min([len(values) for _, _, values in (*mine, *theirs)], default=0)
    found = [
        f"row {row} of {name}: {short(right[row])} expected, got {short(values[row])}"
        for row in range(n_rows)
        for (name, _, values), (_, _, right) in zip(mine, theirs, strict=True)
        if not alike(values[row], right[row])
    ]
    return found[:SHOWN] + ([f"and {len(found) - SHOWN} more cells"] if len(found) > SHOWN else [])


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
    return text if len(text) <= CELL else text[: CELL - 3] + "..."
