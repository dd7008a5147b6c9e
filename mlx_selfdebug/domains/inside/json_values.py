"""Compare JSON values together with their types. This becomes part of the checks of a test run."""

from typing import Any


class Json:
    """A JSON value that is equal to the same JSON value only.

    In Python, ``True == 1``, but in JSON ``true`` is not 1. Numbers of the same value are equal, such as 1 and 1.0. The order of an
    object's keys does not count.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return same_json(self.value, other.value if isinstance(other, Json) else other)


def same_json(a: Any, b: Any) -> bool:
    """Return whether two values, made of what ``json`` can read, are the same in JSON."""
    kinds = {type(a), type(b)}
    if kinds == {dict}:
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if kinds in ({list}, {tuple}):
        return len(a) == len(b) and all(map(same_json, a, b))
    return (len(kinds) == 1 or kinds == {int, float}) and bool(a == b)
