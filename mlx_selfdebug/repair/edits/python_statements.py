"""Edits of Python statements.

A statement is left out, moved out of its block or into the block before it, or it changes places with its neighbour. An ``if``
loses its condition, and ``break`` and ``continue``, ``if`` and ``while``, ``elif`` and ``if`` are exchanged. Where a block has
only ``pass``, a statement may have been forgotten: it is replaced by one such as ``total += x`` or ``items.append(x)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.python_source import PythonSource, is_constant_statement, names_bound_in

MAX_NAMES = 8
"""The largest number of names that are tried as what is added to another name in place of a ``pass``.

Those of inner blocks come first.
"""


def statement_edits(source: PythonSource) -> Iterator[Edit]:
    """Yield every edit of a whole statement."""
    yield from _forgotten(source)
    for owner, block in source.blocks:
        for i, statement in enumerate(block):
            if is_constant_statement(statement) or not source.begins_its_line(statement):
                continue
            yield from _exits(source, statement)
            if isinstance(owner, ast.Module | ast.ClassDef):
                continue
            yield from _left_out(source, block, statement)
            yield from _moved_out(source, owner, block, i)
            if i and not is_constant_statement(block[i - 1]) and source.begins_its_line(block[i - 1]):
                yield from _swapped(source, block[i - 1], statement)
                yield from _moved_in(source, block[i - 1], statement)


def _left_out(source: PythonSource, block: list[ast.stmt], statement: ast.stmt) -> Iterator[Edit]:
    start, end = source.lines_of(statement)
    if len(block) > 1:
        yield Edit(start, end, "", "statement")
    elif not isinstance(statement, ast.Pass):
        yield source.replaced(statement, "pass", "statement")
    if isinstance(statement, ast.If) and not statement.orelse:
        # Without the condition, the statements that it guards are always run.
        first, last = statement.body[0], statement.body[-1]
        if source.begins_its_line(first):
            yield Edit(start, end, _indented(source, statement.body, -_step(source, statement)), "condition")
        else:  # as in ``if x: return``
            text = source.code[source.span(first)[0] : source.span(last)[1]]
            yield Edit(*source.span(statement), text, "condition")


def _exits(source: PythonSource, statement: ast.stmt) -> Iterator[Edit]:
    if isinstance(statement, ast.Break | ast.Continue):
        other = "continue" if isinstance(statement, ast.Break) else "break"
        yield source.replaced(statement, other, "loop exit")
    elif isinstance(statement, ast.If):
        start = source.span(statement)[0]
        if source.code.startswith("elif", start):
            yield Edit(start, start + 4, "if", "loop exit")
        else:
            yield Edit(start, start + 2, "while", "loop exit")
    elif isinstance(statement, ast.While):
        start = source.span(statement)[0]
        yield Edit(start, start + 5, "if", "loop exit")


def _moved_out(source: PythonSource, owner: ast.AST, block: list[ast.stmt], i: int) -> Iterator[Edit]:
    """Yield the edit that moves the last statements of a block to after it, which mends a ``return`` that is indented too far."""
    if (
        not i
        or isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or not isinstance(owner, ast.stmt)
    ):
        return
    if block is not _last_block(owner):
        return
    start, end = source.lines_of(block[i])[0], source.lines_of(block[-1])[1]
    yield Edit(start, end, _indented(source, block[i:], -_step(source, owner)), "indentation")


def _moved_in(source: PythonSource, before: ast.stmt, statement: ast.stmt) -> Iterator[Edit]:
    """Yield the edit that makes a statement the last one of the block before it."""
    block = _last_block(before)
    if block and source.begins_its_line(block[0]):
        step = len(source.indentation(block[0])) - len(source.indentation(statement))
        start, end = source.lines_of(statement)
        yield Edit(start, end, _indented(source, [statement], step), "indentation")


def _swapped(source: PythonSource, first: ast.stmt, second: ast.stmt) -> Iterator[Edit]:
    (start, middle), (again, end) = source.lines_of(first), source.lines_of(second)
    above, between, below = source.code[start:middle], source.code[middle:again], source.code[again:end]
    if not below.endswith("\n"):
        above, below = above.removesuffix("\n"), below + "\n"
    yield Edit(start, end, below + between + above, "order")


def _forgotten(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that replace a ``pass`` by a statement with an effect."""
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            statements = list(_statements_of(function))
            for node in statements:
                if isinstance(node, ast.Pass):
                    yield from (source.replaced(node, text, "effect") for text in _effects(function, statements))


def _statements_of(function: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a function without those of the functions and classes inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _statements_of(node)


def _effects(function: ast.AST, statements: list[ast.stmt]) -> Iterator[str]:
    """Yield statements that add another name to a name which is assigned a list or a set somewhere, or count it in a dictionary.

    A name that is assigned a constant grows or shrinks by another name, or by 1.
    """
    names = names_bound_in(function)[::-1][:MAX_NAMES]
    for name, value in _assigned(statements):
        others = [other for other in names if other != name]
        if isinstance(value, ast.List):
            yield from (f"{name}.append({other})" for other in others)
        elif isinstance(value, ast.Dict):
            yield from (f"{name}[{other}] = {name}.get({other}, 0) + 1" for other in others)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "set":
            yield from (f"{name}.add({other})" for other in others)
        elif isinstance(value, ast.Constant):
            yield from (f"{name} {sign}= {other}" for other in ("1", *others) for sign in "+-")


def _assigned(statements: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the name and the value of each assignment to a single name."""
    for node in statements:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _last_block(node: ast.AST) -> list[ast.stmt]:
    for name in ("finalbody", "orelse", "body"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            return block
    return []


def _step(source: PythonSource, owner: ast.stmt) -> int:
    """Return by how many columns the block of ``owner`` is indented more than ``owner``."""
    return len(source.indentation(_last_block(owner)[0])) - len(source.indentation(owner))


def _indented(source: PythonSource, statements: list[ast.stmt], by: int) -> str:
    """Return the lines of the statements, indented by ``by`` columns more, or less if it is negative."""
    text = source.code[source.lines_of(statements[0])[0] : source.lines_of(statements[-1])[1]]
    lines = text.split("\n")
    if by < 0:
        return "\n".join(line[-by:] if not line[:-by].strip() else line for line in lines)
    return "\n".join(" " * by + line if line.strip() else line for line in lines)
