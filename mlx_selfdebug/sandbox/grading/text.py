"""Format values as text for failure records. The text is the same byte for byte on every run and machine, and never long."""

from __future__ import annotations

import re
from types import BuiltinFunctionType, FunctionType
from typing import Any

from mlx_selfdebug.sandbox.grading.handles import Handle, text_of

MAX_CHARS = 300
"""The maximum number of characters of a text in a failure record."""
_MAX_DEPTH = 250
Callables = type | FunctionType | BuiltinFunctionType
_AT_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Python refuses to convert an int of more than 4,300 digits to a string; this many bits have fewer digits.
_MAX_INT_BITS = 14_000


def cut(text: str, limit: int = MAX_CHARS) -> str:
    """Return ``text``, with its middle replaced by ``...`` if it has more than ``limit`` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def show(value: Any, limit: int = MAX_CHARS) -> str:
    """Return the ``repr`` of ``value`` with sets in order and without addresses, cut to ``limit`` characters."""
    return cut(_literal(value, 0), limit)


def show_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the arguments of a call as they would be written between its parentheses."""
    parts = [_literal(value, 0) for value in args]
    parts += [f"{name}={_literal(value, 0)}" for name, value in kwargs.items()]
    return cut(", ".join(parts))


def scrub(text: str) -> str:
    """Return a message without the addresses of objects, cut to ``MAX_CHARS`` characters."""
    return cut(_printable(_AT_ADDRESS.sub("", text)))


def _literal(value: Any, depth: int) -> str:
    kind = type(value)
    if depth > _MAX_DEPTH:
        return "..."
    if kind in (set, frozenset):
        return _set(value, kind.__name__, depth)
    if kind is list:
        return "[" + _joined(value, depth) + "]"
    if kind is tuple:
        return "(" + _joined(value, depth) + ("," if len(value) == 1 else "") + ")"
    if kind is dict:
        return "{" + ", ".join(f"{_literal(k, depth + 1)}: {_literal(v, depth + 1)}" for k, v in value.items()) + "}"
    if kind is int and value.bit_length() > _MAX_INT_BITS:
        return f"<int of {value.bit_length()} bits>"
    if kind is Handle:
        return text_of(value)
    if isinstance(value, Callables):
        return f"<{value.__name__.strip('<>')}>"
    return _other(value)


def _joined(items: Any, depth: int) -> str:
    return ", ".join(_literal(item, depth + 1) for item in items)


def _set(value: Any, name: str, depth: int) -> str:
    if not value:
        return f"{name}()"
    alike = {type(item) for item in value} in ({int}, {str})
    texts = [_literal(item, depth + 1) for item in (sorted(value) if alike else value)]
    body = "{" + ", ".join(texts if alike else sorted(texts)) + "}"
    return body if name == "set" else f"{name}({body})"


def _other(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # the checks may define a class whose repr fails
        return f"<{type(value).__name__}>"
    return text if isinstance(value, str | bytes) else _AT_ADDRESS.sub("", text)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
