"""Fit what a model has written into the function that it is meant for."""

from __future__ import annotations

import ast
import textwrap

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import Function


def fitted(function: Function, code: str) -> str | None:
    """Return ``code`` as a version of ``function``: what it says of the function, at the function's own indentation.

    The decorators stay as they are, as does all that stands above the body if the parameters are the same. Returns None if the code
    does not hold the function.
    """
    tree, old = parse(code), function.node
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)] if tree else []
    node = next((n for n in nodes if n.name == old.name and type(n) is type(old)), None)
    if node is None:
        return None
    body, first = _body(code, node), old.body[0]
    if ast.dump(node.args) != ast.dump(old.args) or body is None or first.lineno <= old.lineno:
        return code.strip("\n") + "\n" if function.spliced(code) is not None else None
    lines = function.program.split("\n")
    line = lines[first.lineno - 1]
    indentation = line[: len(line) - len(line.lstrip())]
    program = (
        "\n".join([*lines[: _start(first) - 1], *(f"{indentation}{line}" if line else "" for line in body)]) + "\n"
    )
    return program if function.spliced(program) is not None else None


def _start(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _body(code: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str] | None:
    """Return the lines of a function's body without a docstring, moved to the left margin.

    Returns None if the body begins on the line of ``def``.
    """
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    first, last = statements[0], statements[-1]
    if first.lineno <= node.lineno:
        return None
    return textwrap.dedent("\n".join(code.split("\n")[_start(first) - 1 : last.end_lineno])).split("\n")
