"""Fit a function that a model has written into the program of the function that it is to replace.

A model may indent a method like a function, leave out the class around it, or drop decorators and comments. Where that is possible,
only the body of the function that it wrote is taken.
"""

from __future__ import annotations

import ast
import io
import tokenize

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
    lines, old_first = function.program.split("\n"), old.body[0]
    new_body = _body(code, new, _indentation(lines[old_first.lineno - 1]))
    if ast.dump(new.args) != ast.dump(old.args) or new_body is None or old_first.lineno <= old.lineno:
        program = code.strip("\n") + "\n"
    else:
        above = lines[: _first_line(old_first) - 1]
        program = "\n".join([*above, *new_body]) + "\n"
    return program if function.spliced(program) is not None else None


def _body(code: str, node: FunctionNode, indentation: str) -> list[str] | None:
    """Return the lines of a function's body without its docstring, with ``indentation`` in the place of their own.

    Lines that begin within a string stay as they are. Returns None if the body begins on the line of ``def``.
    """
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    first, last = statements[0], statements[-1]
    if first.lineno <= node.lineno:
        return None
    lines, within_strings = code.split("\n"), _lines_within_strings(code)
    margin = _indentation(lines[_first_line(first) - 1])
    moved = []
    for number in range(_first_line(first), (last.end_lineno or 0) + 1):
        line = lines[number - 1]
        if number not in within_strings:
            line = indentation + line.removeprefix(margin) if line.strip() else ""
        moved.append(line)
    return moved


def _lines_within_strings(code: str) -> set[int]:
    """Return the numbers of the lines that begin within a string, which is the only token that may go over several lines."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {number for token in tokens for number in range(token.start[0] + 1, token.end[0] + 1)}


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _first_line(node: ast.stmt) -> int:
    """Return the number of the first line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
