"""Turn the examples of an interactive session (``>>> f(2)`` and its output) into statements of checks, in the same order.

Every example counts as it is written, unlike in examples.py, which reads prose and leaves out what is in doubt. Assignments and
imports prepare later examples. ``...`` in an output stands for anything, and a traceback means that the exception is expected.
Printed output is compared only if the statement is a single ``print(...)``.

    >>> doctest_statements(">>> x = 2\\n>>> f(x)\\n4\\n")
    ['x = 2', 'assert f(x) == 4']
"""

from __future__ import annotations

import ast
import builtins
import textwrap
from collections.abc import Iterator

from mlx_selfdebug.parsing import parse_expression, parse_quietly
from mlx_selfdebug.translating.examples import normal_literal
from mlx_selfdebug.translating.imports import Imports, Renamed, sole_name


def doctest_statements(text: str, entry_point: str = "") -> list[str]:
    """Return the statements of the examples in ``text``, without examples that doctest would skip.

    ``entry_point`` is the name of what is tested, if it is known. Raises ValueError if there is no example or one does not parse.
    """
    import doctest

    parsed = doctest.DocTestParser().get_examples(textwrap.dedent(text))
    examples = [example for example in parsed if not example.options.get(doctest.SKIP)]
    if not examples:
        raise ValueError("the text has no example that begins with >>>")
    trees = [_parsed(example.source) for example in examples]
    imports = Imports(ast.Module([node for tree in trees for node in tree.body], []))
    renamed = Renamed(imports, sole_name(imports, entry_point))
    statements: list[str] = []
    for example, tree in zip(examples, trees, strict=True):
        renamed.visit(tree)  # changes the tree in place
        statements += _statements(tree.body, example.want, example.exc_msg)
    return statements


def _parsed(source: str) -> ast.Module:
    """Parse the source of an example. Raises ValueError if it does not parse."""
    try:
        return parse_quietly(source)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"an example is not valid Python: {source.strip()}") from error


def _statements(nodes: list[ast.stmt], want: str, exception: str | None) -> Iterator[str]:
    """Yield the statements of one example. The last of them is compared with the output ``want`` or has to raise ``exception``."""
    kept = [node for node in nodes if not isinstance(node, ast.Pass)]
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
    """Return the statement ``text`` in a block that expects ``exception``, which is the last line of a traceback."""
    name, _, message = exception.partition(":")
    name, message = name.strip(), message.strip()
    # An exception of the tested module is given by its name as a string, since checks cannot import it.
    arguments = name if name.isidentifier() and hasattr(builtins, name) else repr(name)
    if message and "..." not in message:
        arguments += f", message={message!r}"
    return f"with raises({arguments}):\n{textwrap.indent(text, '    ')}"


def _assertion(node: ast.expr, text: str, want: str) -> str:
    """Return the assert that the expression ``node``, whose source is ``text``, has the output ``want``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return f"assert shows({_printed(node)}, {want!r})" if not node.keywords else text
    if not want.strip():
        return _comparison(node, ast.Is(), "None")
    value = normal_literal(want) if "..." not in want else None
    if value in ("True", "False"):
        # 1 == True, but a session that returns 1 does not print True.
        return _comparison(node, ast.Is(), value)
    # An output that is no literal, such as nan or <Stack>, is compared with the repr of the value.
    return _comparison(node, ast.Eq(), value) if value is not None else f"assert shows(repr({text}), {want!r})"


def _comparison(node: ast.expr, operator: ast.cmpop, value: str) -> str:
    """Return the assert that compares ``node`` with a literal.

    It is put together as a tree, because ``f(2) == 4 is True``, without brackets, would be a chain of two comparisons.
    """
    return f"assert {ast.unparse(ast.Compare(node, [operator], [parse_expression(value)]))}"


def _printed(node: ast.Call) -> str:
    """Return an expression for the text that a call of ``print`` would print."""
    if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
        return f"str({ast.unparse(node.args[0])})"
    return f"' '.join(map(str, [{', '.join(map(ast.unparse, node.args))}]))"
