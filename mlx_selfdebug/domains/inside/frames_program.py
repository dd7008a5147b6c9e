"""The program that runs a function over data frames in a test run.

It makes frames of the plain values that the checks give, and plain values of the frames that the function returns.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

PANDAS = {"int": "int64", "float": "float64", "bool": "bool", "str": "str"}
POLARS = {"int": "Int64", "float": "Float64", "bool": "Boolean", "str": "String"}


def over_frames(function: Callable[..., Any], library: str) -> Callable[..., Any]:
    module = import_module(library)
    framed, plain = (pandas_framed, pandas_plain) if library == "pandas" else (polars_framed, polars_plain)

    def call(*arguments: Any) -> Any:
        return plain(module, function(*(framed(module, argument) for argument in arguments)))

    return call


def pandas_framed(pandas: Any, value: Any) -> Any:
    if type(value) is not dict or list(value) != ["frame"]:
        return value
    return pandas.DataFrame(
        {name: pandas.Series(values, dtype=PANDAS.get(dtype)) for name, dtype, values in value["frame"]}
    )


def polars_framed(polars: Any, value: Any) -> Any:
    if type(value) is not dict or list(value) != ["frame"]:
        return value
    types = {name: getattr(polars, POLARS[dtype]) if dtype in POLARS else None for name, dtype, _ in value["frame"]}
    return polars.DataFrame([polars.Series(name, values, dtype=types[name]) for name, _, values in value["frame"]])


def pandas_plain(pandas: Any, value: Any) -> Any:
    """Return the value as plain values, a frame without its index, which is not compared."""
    if isinstance(value, pandas.Series):
        return {"series": pandas_values(pandas, value)}
    if not isinstance(value, pandas.DataFrame):
        return unboxed(value)
    columns = [value.iloc[:, place] for place in range(value.shape[1])]
    frame = [
        [str(name), pandas_dtype(pandas, column), pandas_values(pandas, column)]
        for name, column in zip(value.columns, columns, strict=True)
    ]
    return {"frame": frame}


def pandas_values(pandas: Any, column: Any) -> list[Any]:
    return [None if pandas.isna(value) is True else unboxed(value) for value in column.astype(object).tolist()]


def pandas_dtype(pandas: Any, column: Any) -> str:
    types = pandas.api.types
    tests = {"bool": types.is_bool_dtype, "int": types.is_integer_dtype, "float": types.is_float_dtype}
    for name, test in tests.items():
        if test(column.dtype):
            return name
    if types.is_string_dtype(column.dtype) or (
        column.dtype == object and all(isinstance(value, str) for value in column.dropna())
    ):
        return "str"
    return str(column.dtype)


def polars_plain(polars: Any, value: Any) -> Any:
    if isinstance(value, polars.LazyFrame):
        value = value.collect()
    if isinstance(value, polars.Series):
        return {"series": value.to_list()}
    if not isinstance(value, polars.DataFrame):
        return unboxed(value)
    return {
        "frame": [
            [column.name, polars_dtype(polars, column.dtype), [unboxed(v) for v in column.to_list()]]
            for column in value.get_columns()
        ]
    }


def polars_dtype(polars: Any, dtype: Any) -> str:
    if dtype.is_integer():
        return "int"
    if dtype.is_float():
        return "float"
    return {polars.Boolean: "bool", polars.String: "str", polars.Null: "any"}.get(dtype, str(dtype))


def unboxed(value: Any) -> Any:
    """Return a NumPy scalar as a plain Python value, and NaN as None, which stands for a missing value."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value
