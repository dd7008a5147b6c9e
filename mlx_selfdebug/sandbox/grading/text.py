"""Write values as text for the records of failed checks.

The text of a value is the same, byte for byte, in every run and on every machine, and has at most ``MAX_CHARS`` characters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

from mlx_selfdebug.sandbox.grading.handles import Handle, text_of

MAX_CHARS = 300
"""The maximum number of characters of a text in the record of a failure."""
_MAX_DEPTH = 200
"""The depth of nesting beyond which a part of a value is written as ``...``.

Each level of lists takes four of the 1,000 levels of recursion that Python allows. Values from the candidate are nested no deeper
than this (``codec.MAX_DEPTH``). In the text of a deeper value, ``cut`` would remove those parts anyway.
"""
_MAX_INT_BITS = 14_000
"""The size up to which an int is written in digits. It has fewer than 4,300 of them, the most that Python converts to text."""
# The address in the default repr of an object, such as "<Node object at 0x7f3a5c0d1e80>", differs from run to run.
_AT_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_Callable = type | FunctionType | BuiltinFunctionType


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """Return ``text``, with its middle replaced by ``...`` if it has more than ``limit`` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def show(value: Any, limit: int = MAX_CHARS) -> str:
    """Return ``repr(value)`` with the elements of sets in order and without addresses, cut to ``limit`` characters."""
    return cut(_literal(value, 0), limit)


def show_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the arguments of a call as they would be written between its parentheses, cut to ``MAX_CHARS`` characters."""
    parts = [_literal(value, 0) for value in args]
    parts += [f"{name}={_literal(value, 0)}" for name, value in kwargs.items()]
    return cut(", ".join(parts))


def scrub(text: str) -> str:
    """Return a message without the addresses of objects, with lone surrogates escaped, cut to ``MAX_CHARS`` characters."""
    return cut(_AT_ADDRESS.sub("", text).encode("utf-8", "backslashreplace").decode("utf-8"))


def _literal(value: Any, depth: int) -> str:
    """Return a value as text. ``depth`` is the number of containers around it.

    Only the exact types of containers are taken apart here, since a subclass may have a ``repr`` of its own.
    """
    kind = type(value)
    if depth > _MAX_DEPTH:
        return "..."
    if kind in (set, frozenset):
        return _set_literal(value, kind.__name__, depth)
    if kind is list:
        return "[" + _items(value, depth) + "]"
    if kind is tuple:
        return "(" + _items(value, depth) + ("," if len(value) == 1 else "") + ")"
    if kind is dict:
        return "{" + ", ".join(f"{_literal(k, depth + 1)}: {_literal(v, depth + 1)}" for k, v in value.items()) + "}"
    if kind is int and value.bit_length() > _MAX_INT_BITS:
        return f"<int of {value.bit_length()} bits>"
    if kind is Handle:
        return text_of(value)
    if isinstance(value, _Callable):
        return f"<{value.__name__.strip('<>')}>"  # the name of a lambda has angle brackets already
    return _repr(value)


def _items(items: Sequence[Any], depth: int) -> str:
    return ", ".join(_literal(item, depth + 1) for item in items)


def _set_literal(value: Collection[Any], name: str, depth: int) -> str:
    """Return a set as text. Ints or strings are in the order of their values, and other elements in the order of their texts."""
    if not value:
        return f"{name}()"
    comparable = {type(item) for item in value} in ({int}, {str})
    texts = [_literal(item, depth + 1) for item in (sorted(value) if comparable else value)]
    body = "{" + ", ".join(texts if comparable else sorted(texts)) + "}"
    return body if name == "set" else f"{name}({body})"


def _repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # the checks may define a class whose repr fails
        return f"<{type(value).__name__}>"
    return text if isinstance(value, str | bytes) else _AT_ADDRESS.sub("", text)
