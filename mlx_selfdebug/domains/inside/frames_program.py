"""Run a function over data frames. ``domains/tables.py`` makes the text of this file part of the program that the sandbox runs.

The plain values that the checks give are turned into frames, and the frames that the function returns are turned into plain values.
A frame has one form in both directions, and a series has another one:

    {"frame": [["name", "str", ["rose", None]], ["petals", "int", [5, 3]]]}    a name, a dtype and the values of each column
    {"series": [5, 3]}                                                         only returned, never given
"""

from collections.abc import Callable
from datetime import datetime, time, timedelta, timezone
from importlib import import_module
from typing import Any

# The dtypes of each library for the dtypes that a check may give. For any other, the library chooses by the values.
PANDAS = {"int": "int64", "float": "float64", "bool": "bool", "str": "str", "category": "category"}
POLARS = {"int": "Int64", "float": "Float64", "bool": "Boolean", "str": "String", "category": "Categorical"}
POLARS_PLAIN = {
    "Boolean": "bool",
    "String": "str",
    "Date": "date",
    "Datetime": "datetime",
    "Duration": "timedelta",
    "Time": "time",
    "List": "list",
    "Array": "list",
    "Struct": "dict",
    "Null": "any",
    "Categorical": "category of str",
    "Enum": "category of str",
}
"""The plain dtype for each dtype of polars except numbers (see ``polars_dtype``). Columns are compared by plain dtypes."""
DATE_UNITS = ("Y", "M", "W", "D")
"""The units of NumPy's datetimes that become dates in Python."""


def over_frames(function: Callable[..., Any], library: str) -> Callable[..., Any]:
    """Wrap ``function`` so that it takes and returns plain values instead of data frames.

    ``library`` is "pandas" or "polars".
    """
    module = import_module(library)
    framed, plain = (pandas_framed, pandas_plain) if library == "pandas" else (polars_framed, polars_plain)

    def call(*arguments: Any) -> Any:
        return plain(module, function(*(framed(module, argument) for argument in arguments)))

    return call


def is_frame(value: Any) -> bool:
    """Return whether a plain value describes a frame."""
    return type(value) is dict and list(value) == ["frame"]


def pandas_framed(pandas: Any, value: Any) -> Any:
    """Return the data frame that ``value`` describes, or ``value`` itself if it describes none."""
    if not is_frame(value):
        return value
    return pandas.DataFrame({name: pandas_series(pandas, values, dtype) for name, dtype, values in value["frame"]})


def pandas_series(pandas: Any, values: list[Any], dtype: str) -> Any:
    """Return the values as a column of pandas. If ``dtype`` cannot hold the missing values among them, pandas chooses another."""
    can_hold = not (dtype in ("int", "bool") and None in values)
    return pandas.Series(values, dtype=PANDAS.get(dtype) if can_hold else None)


def polars_framed(polars: Any, value: Any) -> Any:
    """Return the data frame that ``value`` describes, or ``value`` itself if it describes none."""
    if not is_frame(value):
        return value
    types = {name: getattr(polars, POLARS[dtype]) if dtype in POLARS else None for name, dtype, _ in value["frame"]}
    return polars.DataFrame([polars.Series(name, values, dtype=types[name]) for name, _, values in value["frame"]])


def pandas_plain(pandas: Any, value: Any) -> Any:
    """Return a result of pandas as plain values. The index of a frame is left out, since it is not compared."""
    if isinstance(value, pandas.Series):
        return {"series": pandas_values(pandas, value)}
    if isinstance(value, pandas.Index | pandas.api.extensions.ExtensionArray):
        return pandas_values(pandas, pandas.Series(value))
    if type(value) in (list, tuple):
        return type(value)(pandas_plain(pandas, part) for part in value)
    if not isinstance(value, pandas.DataFrame):
        return unboxed(value)
    columns = [value.iloc[:, place] for place in range(value.shape[1])]
    frame = [
        [unboxed(name), pandas_dtype(pandas, column), pandas_values(pandas, column)]
        for name, column in zip(value.columns, columns, strict=True)
    ]
    return {"frame": frame}


def pandas_values(pandas: Any, column: Any) -> list[Any]:
    """Return the values of a column as plain data, with None for missing ones."""
    return [None if pandas.isna(value) is True else unboxed(value) for value in column.astype(object).tolist()]


def pandas_dtype(pandas: Any, column: Any) -> str:
    """Return the plain dtype of a column.

    Normally this is a name such as "int" or "str". An object column is named after its values only if pandas would have stored them
    as objects anyway (strings, dates). Integers in an object column give "object", because pandas would have made them int64.
    """
    types = pandas.api.types
    if isinstance(column.dtype, pandas.CategoricalDtype):
        return f"category of {pandas_dtype(pandas, column.cat.categories.to_series())}"
    if column.dtype == object:
        values = [value for value in pandas_values(pandas, column) if value is not None]
        kinds = {type(value).__name__ for value in values} or {"str"}
        # Columns of these types have dtypes of their own. Booleans do only if no value is missing.
        stored_otherwise = {"int", "float", "datetime", "timedelta"} | (
            {"bool"} if len(values) == len(column) else set()
        )
        return kinds.pop() if len(kinds) == 1 and not kinds & stored_otherwise else "object"
    tests = {
        "bool": types.is_bool_dtype,
        "int": types.is_integer_dtype,
        "float": types.is_float_dtype,
        "datetime": types.is_datetime64_any_dtype,
        "timedelta": types.is_timedelta64_dtype,
        "str": types.is_string_dtype,
    }
    return next((name for name, test in tests.items() if test(column.dtype)), str(column.dtype))


def polars_plain(polars: Any, value: Any) -> Any:
    """Return a result of polars as plain values."""
    if isinstance(value, polars.LazyFrame):
        value = value.collect()
    if isinstance(value, polars.Series):
        return {"series": unboxed(value.to_list())}
    if type(value) in (list, tuple):
        return type(value)(polars_plain(polars, part) for part in value)
    if not isinstance(value, polars.DataFrame):
        return unboxed(value)
    columns = value.get_columns()
    return {"frame": [[column.name, polars_dtype(column.dtype), unboxed(column.to_list())] for column in columns]}


def polars_dtype(dtype: Any) -> str:
    """Return the plain dtype of a column with this dtype."""
    if dtype.is_integer() or dtype.is_float():
        return "int" if dtype.is_integer() else "float"
    name: str = dtype.base_type().__name__
    return POLARS_PLAIN.get(name, name)


def in_units_of_python(value: Any) -> Any:
    """Return datetimes or durations of NumPy in a unit for which ``tolist`` returns dates, datetimes or timedeltas.

    For units finer than microseconds, ``tolist`` would return whole numbers, and it would for durations in months and years.
    """
    kind, unit = value.dtype.kind, value.dtype.name.partition("[")[2].strip("]0123456789")
    return value if kind == "M" and unit in DATE_UNITS else value.astype(f"{kind}8[us]")


def unboxed(value: Any) -> Any:
    """Return a value of NumPy, pandas or Python as plain data of Python, with all its parts.

    Missing values, such as NaN and NaT, become None. A datetime gets the fixed offset of its time zone instead of the zone. A
    datetime or duration that Python cannot hold without losing nanoseconds is returned as it is.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        if value.dtype.kind in "mM":
            rounded = in_units_of_python(value)
            if ((rounded.astype(value.dtype) != value) & (value == value)).any():  # NaT is not equal to itself.
                return value
            value = rounded
        value = value.tolist()
    if type(value) in (list, tuple):
        return type(value)(map(unboxed, value))
    if type(value) is dict:
        return {unboxed(key): unboxed(part) for key, part in value.items()}
    if type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value):
        return None
    # A Timestamp or Timedelta of pandas becomes one of Python, unless that would lose nanoseconds.
    if isinstance(value, datetime) and not getattr(value, "nanosecond", 0):
        value = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    elif isinstance(value, timedelta) and not getattr(value, "nanoseconds", 0):
        value = value.to_pytimedelta() if hasattr(value, "to_pytimedelta") else value
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    return value if offset is None else value.replace(tzinfo=timezone(offset))
