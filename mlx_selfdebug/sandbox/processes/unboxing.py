"""Turn values that stand for plain data into that data: NumPy's scalars and arrays, named tuples, and some others.

The result is sent to the grader like any other data of the candidate, and is as untrusted. The grader compares it.

This module is loaded without the package around it (see ``candidate.py``), so it imports nothing of the package.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DICT_VIEWS: tuple[type, ...] = type({}.keys()), type({}.items())


def unboxed(value: Any) -> Any:
    """Return a NumPy scalar, or an array without dimensions, as the plain data that it holds. Return any other value as it is.

    A scalar is also returned as it is if no plain data equals it: a long double, a missing time, or a time that is not a whole
    number of microseconds.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(type(value), (numpy.generic, numpy.ndarray)) or value.ndim:
        return value
    plain, is_time = value.item(), value.dtype.kind in "mM"
    if is_time and type(plain) is int:  # a time in units finer than microseconds, such as nanoseconds
        in_microseconds = value.astype(f"{value.dtype.kind}8[us]")
        plain = in_microseconds.item() if in_microseconds == value else None
    is_not_plain = plain is None or issubclass(type(plain), numpy.generic) or (is_time and type(plain) is int)
    return value if is_not_plain else plain


def plain_form(value: Any) -> Any:
    """Return the plain data that an object stands for, or None if it stands for none.

    - A named tuple stands for the tuple of its fields.
    - An array stands for the list of its elements.
    - The keys or the items of a dict stand for a set.
    - A datetime or time stands for the same with a fixed offset in place of its time zone.
    """
    kind = type(value)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(tuple.__iter__(value))  # the candidate's class cannot replace the iteration of tuple itself
    numpy, datetime = sys.modules.get("numpy"), sys.modules["datetime"]
    if numpy is not None and issubclass(kind, numpy.ndarray):
        # ``tolist`` would turn times in nanoseconds into whole numbers.
        in_nanoseconds = value.dtype.kind in "mM" and numpy.datetime_data(value.dtype)[0] == "ns"
        return (value.astype(f"{value.dtype.kind}8[us]") if in_nanoseconds else value).tolist()
    if kind in _DICT_VIEWS:
        return set(value)
    if kind in (datetime.datetime, datetime.time):
        offset = value.utcoffset()
        return value.replace(tzinfo=None if offset is None else datetime.timezone(offset))
    return None
