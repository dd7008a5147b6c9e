"""Make edits of whole Python statements.

A statement is left out, moved out of its block, moved into the block before it, or swapped with the statement before it. An ``if``
loses its condition. ``break`` and ``continue``, ``if`` and ``while``, ``elif`` and ``if`` are exchanged. A ``pass`` may stand for a
statement that was forgotten, so it is replaced by a statement such as ``total += x`` or ``items.append(x)``.

    for n in numbers:                                    for n in numbers:
        total += n           moved out of its block ->       total += n
        return total                                     return total
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.python_source import PythonSource, is_constant_statement, names_bound_in

MAX_NAMES = 8
"""The largest number of names that are tried as what a forgotten statement adds, appends or counts."""


def statement_edits(source: PythonSource) -> Iterator[Edit]:
    """Yield every edit of a whole statement."""
    yield from _forgotten(source)
    for owner, block in source.blocks:
        for i, statement in enumerate(block):
            if is_constant_statement(statement) or not source.begins_its_line(statement):
                continue
            yield from _other_keyword(source, statement)
            # Statements of modules and classes, which are mostly imports, functions and methods, stay where they are.
            if isinstance(owner, ast.Module | ast.ClassDef):
                continue
            yield from _left_out(source, block, statement)
            yield from _moved_out(source, owner, block, i)
            if i and not is_constant_statement(block[i - 1]) and source.begins_its_line(block[i - 1]):
                yield from _swapped(source, block[i - 1], statement)
                yield from _moved_in(source, block[i - 1], statement)


def _left_out(source: PythonSource, block: list[ast.stmt], statement: ast.stmt) -> Iterator[Edit]:
    """Yield the edit that drops a statement and, for an ``if`` without ``else``, the edit that drops only its condition."""
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


def _other_keyword(source: PythonSource, statement: ast.stmt) -> Iterator[Edit]:
    """Yield the edit that exchanges ``break`` and ``continue``, ``if`` and ``while``, or writes ``if`` instead of ``elif``."""
    start = source.span(statement)[0]
    if isinstance(statement, ast.Break):
        old, new = "break", "continue"
    elif isinstance(statement, ast.Continue):
        old, new = "continue", "break"
    elif isinstance(statement, ast.While):
        old, new = "while", "if"
    elif isinstance(statement, ast.If):
        old, new = ("elif", "if") if source.code.startswith("elif", start) else ("if", "while")
    else:
        return
    yield Edit(start, start + len(old), new, "loop exit")


def _moved_out(source: PythonSource, owner: ast.AST, block: list[ast.stmt], i: int) -> Iterator[Edit]:
    """Yield the edit that moves the statements from index ``i`` on out of ``block``, to after ``owner``.

    It repairs a ``return`` that is indented too far. The first statement stays, because a block must not be empty.
    """
    if not i or not isinstance(owner, ast.stmt) or isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef):
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
    """Yield the edit that swaps two neighbouring statements."""
    (first_start, first_end), (second_start, second_end) = source.lines_of(first), source.lines_of(second)
    above, below = source.code[first_start:first_end], source.code[second_start:second_end]
    between = source.code[first_end:second_start]
    if not below.endswith("\n"):  # The last line of a program may have no newline.
        above, below = above.removesuffix("\n"), below + "\n"
    yield Edit(first_start, second_end, below + between + above, "order")


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
    """Yield the text of statements that may have been forgotten, for each name to which ``statements`` assign a value.

    If the value is a list, a set or a dictionary, another name of ``function`` is appended, added or counted. If it is a constant,
    it grows or shrinks by another name, or by 1.
    """
    # Reversed, so that the names of inner blocks come first.
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
    """Return the last block of a statement, such as its ``else`` block; empty if it has none."""
    for name in ("finalbody", "orelse", "body"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            return block
    return []


def _step(source: PythonSource, owner: ast.stmt) -> int:
    """Return by how many columns the last block of ``owner`` is indented more than ``owner``."""
    return len(source.indentation(_last_block(owner)[0])) - len(source.indentation(owner))


def _indented(source: PythonSource, statements: list[ast.stmt], columns: int) -> str:
    """Return the lines of the statements, indented by ``columns`` more, or by less if ``columns`` is negative."""
    text = source.code[source.lines_of(statements[0])[0] : source.lines_of(statements[-1])[1]]
    lines = text.split("\n")
    if columns < 0:
        # A line that is indented by less, as inside a string of several lines, stays as it is.
        return "\n".join(line[-columns:] if not line[:-columns].strip() else line for line in lines)
    return "\n".join(" " * columns + line if line.strip() else line for line in lines)
