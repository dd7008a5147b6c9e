"""Fit a function that a model has written into the program of the function that it is to replace.

A model may indent a method like a function, leave out the class around it, or drop decorators and comments. Where that is possible,
only the body of the function that it wrote is taken.
"""

from __future__ import annotations

import ast
import textwrap

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import Function, FunctionNode


def fitted(function: Function, code: str) -> str | None:
    """Return a program for ``function`` with the body that the function has in ``code``.

    If the parameters are the same in both, everything above the body stays as it is in ``function``, decorators and comments
    included, and the body is indented as it was. Otherwise ``code`` is returned as it is.

    Returns None if ``code`` does not define the function, or if the result is no version of ``function``.
    """
    tree, old = parse(code), function.node
    nodes = [node for node in ast.walk(tree) if isinstance(node, FunctionNode)] if tree else []
    new = next((node for node in nodes if node.name == old.name and type(node) is type(old)), None)
    if new is None:
        return None
    new_body, old_first = _body(code, new), old.body[0]
    if ast.dump(new.args) != ast.dump(old.args) or new_body is None or old_first.lineno <= old.lineno:
        program = code.strip("\n") + "\n"
    else:
        lines = function.program.split("\n")
        old_line = lines[old_first.lineno - 1]
        indentation = old_line[: len(old_line) - len(old_line.lstrip())]
        above = lines[: _first_line(old_first) - 1]
        program = "\n".join([*above, *(f"{indentation}{line}" if line else "" for line in new_body)]) + "\n"
    return program if function.spliced(program) is not None else None


def _body(code: str, node: FunctionNode) -> list[str] | None:
    """Return the lines of a function's body without its docstring, moved to the left margin.

    Returns None if the body begins on the line of ``def``.
    """
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    first, last = statements[0], statements[-1]
    if first.lineno <= node.lineno:
        return None
    return textwrap.dedent("\n".join(code.split("\n")[_first_line(first) - 1 : last.end_lineno])).split("\n")


def _first_line(node: ast.stmt) -> int:
    """Return the number of the first line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
