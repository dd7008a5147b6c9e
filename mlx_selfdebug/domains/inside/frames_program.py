"""The program that runs a function over data frames in a test run.

It makes frames of the plain values that the checks give, and plain values of the frames that the function returns.
"""

from collections.abc import Callable
from datetime import datetime, time, timedelta, timezone
from importlib import import_module
from typing import Any

PANDAS = {"int": "int64", "float": "float64", "bool": "bool", "str": "str", "category": "category"}
POLARS = {"int": "Int64", "float": "Float64", "bool": "Boolean", "str": "String", "category": "Categorical"}
KINDS = {
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
"""For the dtypes of polars, the type of the values."""


def over_frames(function: Callable[..., Any], library: str) -> Callable[..., Any]:
    module = import_module(library)
    framed, plain = (pandas_framed, pandas_plain) if library == "pandas" else (polars_framed, polars_plain)

    def call(*arguments: Any) -> Any:
        return plain(module, function(*(framed(module, argument) for argument in arguments)))

    return call


def pandas_framed(pandas: Any, value: Any) -> Any:
    if type(value) is not dict or list(value) != ["frame"]:
        return value
    return pandas.DataFrame({name: pandas_series(pandas, values, dtype) for name, dtype, values in value["frame"]})


def pandas_series(pandas: Any, values: list[Any], dtype: str) -> Any:
    """Return the values as a column. One with missing values that its dtype cannot hold gets the dtype that pandas chooses."""
    holds = not (dtype in ("int", "bool") and None in values)
    return pandas.Series(values, dtype=PANDAS.get(dtype) if holds else None)


def polars_framed(polars: Any, value: Any) -> Any:
    if type(value) is not dict or list(value) != ["frame"]:
        return value
    types = {name: getattr(polars, POLARS[dtype]) if dtype in POLARS else None for name, dtype, _ in value["frame"]}
    return polars.DataFrame([polars.Series(name, values, dtype=types[name]) for name, _, values in value["frame"]])


def pandas_plain(pandas: Any, value: Any) -> Any:
    """Return the value as plain values, a frame without its index, which is not compared."""
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
    return [None if pandas.isna(value) is True else unboxed(value) for value in column.astype(object).tolist()]


def pandas_dtype(pandas: Any, column: Any) -> str:
    """Return the type of the column's values if its dtype is what pandas gives to such values, otherwise the dtype's own name."""
    types = pandas.api.types
    if isinstance(column.dtype, pandas.CategoricalDtype):
        return f"category of {pandas_dtype(pandas, column.cat.categories.to_series())}"
    if column.dtype == object:
        values = [value for value in pandas_values(pandas, column) if value is not None]
        kinds = {type(value).__name__ for value in values} or {"str"}
        others = {"int", "float", "datetime", "timedelta"} | ({"bool"} if len(values) == len(column) else set())
        return kinds.pop() if len(kinds) == 1 and not kinds & others else "object"
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
    if dtype.is_integer() or dtype.is_float():
        return "int" if dtype.is_integer() else "float"
    name: str = dtype.base_type().__name__
    return KINDS.get(name, name)


def unboxed(value: Any) -> Any:
    """Return a value of NumPy, pandas or Python, and each part of it, as plain data. NaN and NaT are None: a missing value.

    A datetime gets the offset of its time zone in place of the zone.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        if value.dtype.kind in "mM":  # as nanoseconds, they would become whole numbers
            value = value.astype(f"{value.dtype.kind}8[us]")
        value = value.tolist()
    if type(value) in (list, tuple):
        return type(value)(map(unboxed, value))
    if type(value) is dict:
        return {unboxed(key): unboxed(part) for key, part in value.items()}
    if type(value).__name__ in ("NaTType", "NAType") or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, datetime | timedelta) and not getattr(value, "nanosecond", getattr(value, "nanoseconds", 0)):
        for name in ("to_pydatetime", "to_pytimedelta"):
            value = getattr(value, name)() if hasattr(value, name) else value
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    return value if offset is None else value.replace(tzinfo=timezone(offset))
