"""Make plain data of values that stand for plain data, in the candidate's process: NumPy's scalars and arrays, and some others.

What this module makes is sent like any other data of the candidate: it is no more than what the candidate says, and is compared at
the trusted end. The module is loaded bare, beside the codec.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VIEWS: tuple[type, ...] = type({}.keys()), type({}.items())


def unboxed(value: Any) -> Any:
    """Return a scalar of NumPy or an array without dimensions as plain data, and any other value as it is.

    A scalar that has no equal among plain data stays as it is: a long double, or a time that is no whole number of microseconds.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(type(value), (numpy.generic, numpy.ndarray)) or value.ndim:
        return value
    plain, is_time = value.item(), value.dtype.kind in "mM"
    if is_time and type(plain) is int:
        in_microseconds = value.astype(f"{value.dtype.kind}8[us]")
        plain = in_microseconds.item() if in_microseconds == value else None
    has_none = plain is None or issubclass(type(plain), numpy.generic) or (is_time and type(plain) is int)
    return value if has_none else plain


def plain_form(value: Any) -> Any:
    """Return the plain data that equals ``value`` in Python or holds the same, or None if there is none.

    That is a tuple of the fields of a named tuple, a list of the elements of an array, a set for the keys or items of a dict, and a
    datetime or time with the offset of its time zone in place of the zone.
    """
    kind = type(value)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(tuple.__iter__(value))  # the candidate's class cannot replace the iteration of tuple itself
    numpy, datetime = sys.modules.get("numpy"), sys.modules["datetime"]
    if numpy is not None and issubclass(kind, numpy.ndarray):
        # As nanoseconds, times would become whole numbers.
        in_nanoseconds = value.dtype.kind in "mM" and numpy.datetime_data(value.dtype)[0] == "ns"
        return (value.astype(f"{value.dtype.kind}8[us]") if in_nanoseconds else value).tolist()
    if kind in _VIEWS:
        return set(value)
    if kind in (datetime.datetime, datetime.time):
        offset = value.utcoffset()
        return value.replace(tzinfo=None if offset is None else datetime.timezone(offset))
    return None
