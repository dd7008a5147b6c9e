"""Data frames as plain values, and the comparison of two of them, on the trusted side of a test run.

A model is told the differences in the words that are chosen here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_selfdebug.domains.inside.tolerance import equal_numbers

MAX_SHOWN = 3
"""The number of differing cells that are shown."""
MAX_CELL_CHARS = 40
RELATIVE = 1e-9
"""The tolerance for numbers with a fraction."""
LIBRARY = "pandas"
"""The library of the frames. The domain sets it in a line after this file."""
Column = tuple[Any, str, list[Any]]
"""A name, a dtype and the values."""


def DataFrame(columns: Mapping[Any, Sequence[Any]], dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: N802
    """Return a frame as plain values. The name is that of the libraries, so that a check reads like ordinary code.

    A column's dtype follows from its values: int, float, bool, str, date, datetime and so on. All widths of integers are the same
    dtype. If the values do not show it, because there are none or all are missing, any dtype is right. A category counts as the
    values that it holds, unless ``dtypes`` names "category". None and NaN are missing values.
    """
    frame = []
    for name, given in columns.items():
        values = [None if value != value else value for value in given]
        frame.append([name, (dtypes or {}).get(name) or dtype_of(given), values])
    return {"frame": frame}


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
    if not alike(names, wanted):
        return f"columns expected: {', '.join(map(str, wanted))}; got: {', '.join(map(str, names)) or 'none'}"
    types = [
        f"column {name} has dtype {dtype}, {right} is expected"
        for (name, dtype, _), (_, right, values) in zip(mine, theirs, strict=True)
        if not is_right(dtype, right, values)
    ]
    sizes = [(len(values), len(right)) for (*_, values), (*_, right) in zip(mine, theirs, strict=True)]
    rows = [f"{right} rows expected, got {size}" for size, right in sizes if size != right][:1]
    return "; ".join([*types, *rows, *cells(mine, theirs)])


def is_right(dtype: str, right: str, values: Sequence[Any]) -> bool:
    """Return whether a column of dtype ``dtype`` may hold the values, for which ``right`` is expected."""
    kind, _, of = dtype.partition(" of ")
    if right != "category" and of:
        kind = of
    # pandas stores whole numbers as floats if there are missing ones among them.
    stored = "float" if LIBRARY == "pandas" and right == "int" and None in values else right
    return right == "any" or kind in (right, stored) or (kind == "any" and all(value is None for value in values))


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
    """Return whether two values are equal. A whole number equals a float of the same value, but no boolean."""
    kinds = {type(a), type(b)}
    if is_frame(a) and is_frame(b):
        return not difference(a, b)
    if kinds in ({list}, {tuple}):
        return len(a) == len(b) and all(map(alike, a, b))
    if kinds == {dict}:
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if kinds <= {int, float}:
        return equal_numbers(a, b, RELATIVE)
    return len(kinds) == 1 and bool(a == b)


def is_frame(value: Any) -> bool:
    return type(value) is dict and list(value) == ["frame"]


def kind_of(value: Any) -> str:
    if type(value) is dict and list(value) == ["series"]:
        return "a Series"
    return "nothing" if value is None else f"{type(value).__name__} {short(value)}"


def short(value: Any) -> str:
    text = "a missing value" if value is None else repr(value)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."
