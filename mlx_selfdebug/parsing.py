"""Parse Python source from any thread, without showing warnings about the source. Nothing here runs the source.

CPython up to 3.11.7 counts the depth of the tree in one counter for all threads (gh-106905). If two threads parse at the same
time, ``ast.parse`` can raise a SystemError although the source is right. The functions of this module therefore let only one
thread parse at a time. Other code, such as a library, may still parse in another thread meanwhile. If that leads to a SystemError,
the functions parse again.
"""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_ATTEMPTS = 5
"""The maximum number of times that a source is parsed, if each time ends with a SystemError."""
_LOCK = threading.Lock()


def parse_quietly(source: str) -> ast.Module:
    """Return the tree of the module ``source``.

    Raises SyntaxError or ValueError for any source that does not parse, and SystemError if other threads made every attempt fail.
    """
    return _parse_alone(lambda: ast.parse(source))


def parse(source: str) -> ast.Module | None:
    """Return the tree of the module ``source``, or None if it does not parse.

    It does not parse if it is not Python, is nested too deeply, or holds characters that source may not contain. Raises
    SystemError as ``parse_quietly`` does.
    """
    try:
        return parse_quietly(source)
    except (SyntaxError, ValueError):
        return None


def parse_expression(text: str) -> ast.expr:
    """Return the tree of one expression. Raises SyntaxError or ValueError if ``text`` is anything else."""
    return _parse_alone(lambda: ast.parse(text, mode="eval")).body


def literal(text: str) -> Any:
    """Return the value of a literal, like ``ast.literal_eval``. Raises SyntaxError or ValueError if ``text`` is not a literal."""
    try:
        return ast.literal_eval(parse_expression(text.lstrip(" \t")))
    except TypeError as error:  # such as {[]}, a set of a list
        raise ValueError(f"not a literal: {error}") from error


def _parse_alone(parse_source: Callable[[], T]) -> T:
    """Call ``parse_source`` while no other thread is in this function, and return its tree. Repeat this after a SystemError.

    Python has one list of warning filters for all threads, so warnings of other threads are not shown either in the meantime.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A model's code often causes warnings, for example about invalid escapes.
        for _ in range(MAX_ATTEMPTS):
            try:
                return parse_source()
            except (RecursionError, MemoryError) as error:
                raise ValueError("the source is nested too deeply") from error
            except SystemError as error:
                last_error = error
        raise last_error
