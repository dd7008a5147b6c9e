"""Parse Python source, from any thread and without warnings about it. Nothing here runs the source.

CPython up to 3.11.7 counts the depth of the tree under construction once for all threads (gh-106905), so two threads that parse at
the same time can end in a SystemError about source that is right. Here one thread parses at a time, and whoever is disturbed by a
parse from elsewhere parses again.
"""

from __future__ import annotations

import ast
import threading
import warnings
from typing import Any, Literal

ATTEMPTS = 5
"""How often a parse is made again that another thread disturbed."""
_LOCK = threading.RLock()


def parse_quietly(source: str) -> ast.Module:
    """Return the tree of ``source``. Raises SyntaxError or ValueError for any source that does not parse."""
    tree: ast.Module = _parse(source, "exec")
    return tree


def parse(source: str) -> ast.Module | None:
    """Return the tree of ``source``, or None if it is not Python, is nested too deeply or holds characters that source may not."""
    try:
        return parse_quietly(source)
    except (SyntaxError, ValueError):
        return None


def parse_expression(text: str) -> ast.expr:
    """Return the tree of one expression. Raises SyntaxError or ValueError for any text that is none."""
    expression: ast.Expression = _parse(text, "eval")
    return expression.body


def literal(text: str) -> Any:
    """Return the value of a literal, like ``ast.literal_eval``. Raises SyntaxError or ValueError if ``text`` is not a literal."""
    return ast.literal_eval(parse_expression(text.lstrip(" \t")))


def _parse(source: str, mode: Literal["exec", "eval"]) -> Any:
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model's code may hold invalid escapes and the like
        for _ in range(ATTEMPTS):
            try:
                return ast.parse(source, mode=mode)
            except (RecursionError, MemoryError) as error:
                raise ValueError("the source is nested too deeply") from error
            except SystemError as error:
                disturbed = error
        raise disturbed
