"""Write data frames as plain values, and compare them. This file becomes part of the checks of a test run.

>>> DataFrame({"petals": [5, None]})
{'frame': [['petals', 'int', [5, None]]]}
>>> difference(DataFrame({"petals": [5, 3]}), DataFrame({"petals": [5, 4]}))
'row 1 of petals: 4 expected, got 3'

A model is told the differences in these words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_selfdebug.domains.inside.tolerance import equal_numbers

MAX_SHOWN = 3
"""The maximum number of differing cells that are shown."""
MAX_CELL_CHARS = 40
"""The maximum number of characters that are shown of a cell."""
RELATIVE = 1e-9
"""The tolerance for floats, relative to their size."""
LIBRARY = "pandas"
"""The library of the frames, "pandas" or "polars". The domain sets it in a line after this file."""
Column = tuple[Any, str, list[Any]]
"""The name of a column, its dtype and its values."""


def DataFrame(columns: Mapping[Any, Sequence[Any]], dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: N802
    """Return a frame as plain values. The function has the name that libraries use, so that a check reads like ordinary code.

    The dtype of a column follows from its values: int, float, bool, str, date, datetime and so on. All widths of integers count as
    the same dtype. If the column has no values, or only missing ones, any dtype is right. A category counts as the values that it
    holds, unless ``dtypes`` says "category" for the column. None and NaN are missing values.
    """
    frame = []
    for name, given in columns.items():
        values = [None if value != value else value for value in given]
        frame.append([name, (dtypes or {}).get(name) or dtype_of(given), values])
    return {"frame": frame}


def dtype_of(values: Sequence[Any]) -> str:
    """Return the name of the type of the values, or "any" if they have none or several. Ints and floats together are floats."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return "float"
    return kinds.pop().__name__ if len(kinds) == 1 else "any"


def difference(got: Any, expected: Any) -> str:
    """Return the first differences in words, or an empty string if columns, dtypes and values are the same, in the same order."""
    if not is_frame(expected):
        return "" if alike(got, expected) else f"expected {short(expected)}, got {short(got)}"
    if not is_frame(got):
        return f"a DataFrame is expected, got {kind_of(got)}"
    got_columns: list[Column] = got["frame"]
    expected_columns: list[Column] = expected["frame"]
    got_names, expected_names = [name for name, *_ in got_columns], [name for name, *_ in expected_columns]
    if not alike(got_names, expected_names):
        got_text = ", ".join(map(str, got_names)) or "none"
        return f"columns expected: {', '.join(map(str, expected_names))}; got: {got_text}"
    pairs = list(zip(got_columns, expected_columns, strict=True))
    dtypes = [
        f"column {name} has dtype {dtype}, {expected_dtype} is expected"
        for (name, dtype, _), (_, expected_dtype, expected_values) in pairs
        if not is_right_dtype(dtype, expected_dtype, expected_values)
    ]
    sizes = [(len(values), len(expected_values)) for (*_, values), (*_, expected_values) in pairs]
    rows = [f"{expected_size} rows expected, got {size}" for size, expected_size in sizes if size != expected_size]
    return "; ".join([*dtypes, *rows[:1], *differing_cells(got_columns, expected_columns)])


def is_right_dtype(dtype: str, expected: str, expected_values: Sequence[Any]) -> bool:
    """Return whether a column with this dtype may hold the expected values, whose own dtype is ``expected``."""
    kind, _, held = dtype.partition(" of ")
    if held and expected != "category":
        kind = held  # A category counts as the values that it holds.
    # pandas stores whole numbers as floats if there are missing ones among them.
    stored = "float" if LIBRARY == "pandas" and expected == "int" and None in expected_values else expected
    all_missing = all(value is None for value in expected_values)
    return expected == "any" or kind in (expected, stored) or (kind == "any" and all_missing)


def differing_cells(got: Sequence[Column], expected: Sequence[Column]) -> list[str]:
    """Return the first cells that differ, row by row, each in words, and at the end how many more there are."""
    n_rows = min([len(values) for _, _, values in (*got, *expected)], default=0)
    differences = [
        f"row {row} of {name}: {short(expected_values[row])} expected, got {short(values[row])}"
        for row in range(n_rows)
        for (name, _, values), (_, _, expected_values) in zip(got, expected, strict=True)
        if not alike(values[row], expected_values[row])
    ]
    n_more = len(differences) - MAX_SHOWN
    return differences[:MAX_SHOWN] + ([f"and {n_more} more cells"] if n_more > 0 else [])


def alike(a: Any, b: Any) -> bool:
    """Return whether two values, or all their parts, are equal. An int equals a float of the same value, but no boolean."""
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
    """Return what a value is that should have been a frame, such as "a Series" or "int 3"."""
    if type(value) is dict and list(value) == ["series"]:
        return "a Series"
    return "nothing" if value is None else f"{type(value).__name__} {short(value)}"


def short(value: Any) -> str:
    """Return the value as text of at most ``MAX_CELL_CHARS`` characters."""
    text = "a missing value" if value is None else repr(value)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."
