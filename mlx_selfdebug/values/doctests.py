"""Turns the examples of an interactive session (``>>> f(2)`` and its output) into the statements of checks, in their order.

Every example is taken as it is written, unlike in examples.py, which reads prose and leaves out what is in doubt. Assignments,
imports and calls without output prepare later examples. ``...`` in an output stands for anything, and a traceback means that the
exception is expected. Printed output is only compared if the statement is a single ``print(...)``.

    >>> doctest_statements(">>> x = 2\\n>>> f(x)\\n4\\n")
    ['x = 2', 'assert f(x) == 4']
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator

from mlx_selfdebug.values.examples import literal
from mlx_selfdebug.values.parsing import parse_quietly


def doctest_statements(text: str) -> list[str]:
    """Return the statements of the examples in ``text``. Raises ValueError if it has no example, or one that is not Python."""
    import doctest

    examples = doctest.DocTestParser().get_examples(textwrap.dedent(text))
    if not examples:
        raise ValueError("the text has no example that begins with >>>")
    return [
        statement for example in examples for statement in _statements(example.source, example.want, example.exc_msg)
    ]


def is_foreign(node: ast.stmt) -> bool:
    """Return whether ``node`` is an import that checks do not need: of the module under test, or of a test framework."""
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] not in _KNOWN for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.level > 0 or (node.module or "").partition(".")[0] not in _KNOWN)


_KNOWN = sys.stdlib_module_names - {"unittest", "doctest"} | {"numpy", "pandas"}


def _statements(source: str, want: str, exception: str | None) -> Iterator[str]:
    try:
        nodes = parse_quietly(source).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"an example is not valid Python: {source.strip()}") from error
    kept = [node for node in nodes if not is_foreign(node)]
    if not kept:
        return
    *before, last = kept
    yield from map(ast.unparse, before)
    text = ast.unparse(last)
    if exception is not None:
        yield _raising(text, exception.strip())
    elif isinstance(last, ast.Expr):
        yield _assertion(last.value, text, want)
    else:
        yield text


def _raising(text: str, exception: str) -> str:
    name, _, message = exception.partition(":")
    name, message = name.strip(), message.strip()
    arguments = name if name.isidentifier() and hasattr(__import__("builtins"), name) else repr(name)
    if message and "..." not in message:
        arguments += f", message={message!r}"
    return f"with raises({arguments}):\n{textwrap.indent(text, '    ')}"


def _assertion(node: ast.expr, text: str, want: str) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return f"assert shows({_printed(node)}, {want!r})" if not node.keywords else text
    if not want.strip():
        return f"assert {text} is None"
    value = literal(want) if "..." not in want else None
    # An output that is no literal, such as NaN or <Stack>, is compared with the repr of the value.
    return f"assert {text} == {value}" if value is not None else f"assert shows(repr({text}), {want!r})"


def _printed(node: ast.Call) -> str:
    if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
        return f"str({ast.unparse(node.args[0])})"
    return f"' '.join(map(str, [{', '.join(map(ast.unparse, node.args))}]))"
