"""Plant bugs in one function of a file, for ``fix_bugs.py``: some that one edit of the search undoes, and some that none does.

The first half are the mutants of ``auditing/mutants.py`` that are also edits of the search, which keep the layout and the comments
of the function, and lines that were moved. The other half are larger: the operators here take out whole branches, arguments, calls
of a chain or conditions, or change two places at once.
"""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from fix_rebuilding import Replaced

from mlx_selfdebug.auditing.mutants import mutants_of
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.repair.edits.python_expressions import Expressions
from mlx_selfdebug.repair.edits.python_source import PythonSource
from mlx_selfdebug.repair.edits.python_statements import statement_edits

MIN_LINES, MAX_LINES = 4, 40
"""The smallest and the largest number of lines of a function that bugs are planted in."""
PAIRS = 12
"""The number of pairs of changes that are drawn for the operator that makes two changes."""
MIN_PART = 4
"""The smallest number of nodes that an expression loses when it is replaced by a part of it."""
SLACK = 80
"""The number of characters by which an edit may lie beside the difference of two texts that it is looked for at."""
_MOVES = ("order", "indentation")
_LIKE_MUTANTS = (
    "arithmetic", "comparison", "boolean", "operand", "unary", "condition", "constant", "boundary", "slice", "loop exit", "call",
    "argument", "statement",
)  # fmt: skip


@dataclass(frozen=True)
class FunctionText:
    """A function of a file, from its ``def`` to its last line."""

    name: str
    """The function's name; a method as "Class.method"."""
    start: int
    end: int
    margin: str
    """The white space before each of its lines."""
    code: str
    """Its lines without the margin."""

    def replaced(self, text: str, code: str) -> str:
        """Return the file's ``text`` with ``code`` in the place of the function's."""
        return text[: self.start] + textwrap.indent(code, self.margin) + text[self.end :]


@dataclass(frozen=True)
class Plant:
    """A function with a bug."""

    operator: str
    code: str
    halves: tuple[str, ...] = ()
    """If the bug consists of two changes, the function with each of them alone. Tests must catch both."""


def functions_of(text: str) -> list[FunctionText]:
    """Return the functions of a file that are neither too short nor too long, and stand in the module or in a class of it."""
    source = PythonSource.parsed(text)
    # A line is taken to end with one "\n".
    if source is None or "\r" in text or "\f" in text or "\t" in text:
        return []
    found = (_function(source, node, name) for node, name in _named(source.tree, ""))
    return [function for function in found if function is not None]


def _named(parent: ast.AST, prefix: str) -> Iterator[tuple[ast.stmt, str]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _named(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _named(node, prefix)


def _function(source: PythonSource, node: ast.stmt, name: str) -> FunctionText | None:
    start, end = source.lines_of(node)
    text, margin = source.code[start:end], source.indentation(node)
    code = "".join(line.removeprefix(margin) for line in text.splitlines(keepends=True))
    whole = textwrap.indent(code, margin) == text and parse(code) is not None
    if not whole or not MIN_LINES <= text.count("\n") <= MAX_LINES:
        return None
    return FunctionText(name, start, end, margin, code)


def in_search(right: str, wrong: str) -> bool:
    """Return whether some single edit of the search, tokens of the model aside, makes ``wrong`` what ``right`` is."""
    wanted, changed = _normal(right), Replaced.between(wrong, right)
    near = (edit for edit in _edits(wrong) if edit.start - SLACK <= changed.end and changed.start <= edit.end + SLACK)
    return any(_normal(edit.applied(wrong)) == wanted for edit in near)


def _edits(code: str) -> list[Edit]:
    source = PythonSource.parsed(code)
    return [*Expressions(source, Hints()).edits(), *statement_edits(source)] if source else []


def _normal(code: str) -> str:
    """Return the code without its layout, or "" if it does not parse."""
    tree = parse(code)
    return ast.dump(tree) if tree else ""


def small_plants(code: str) -> list[Plant]:
    """Return the function with one small change each, in the order of the edits. Most of them can be undone by one edit."""
    return [Plant(operator, edit.applied(code)) for operator, edit in _small_changes(code)]


def _small_changes(code: str) -> list[tuple[str, Edit]]:
    """Return the edits of the function that are mutants of it or moves of lines, each program once, with their operators."""
    operators = {_normal(mutant.source): mutant.operator for mutant in mutants_of(code)}
    changes: dict[str, tuple[str, Edit]] = {}
    for edit in [edit for edit in _edits(code) if edit.operator in (*_MOVES, *_LIKE_MUTANTS)]:
        normal = _normal(edit.applied(code))
        operator = operators.get(normal, edit.operator if edit.operator in _MOVES else "")
        if normal and operator and normal != _normal(code):
            changes.setdefault(normal, (operator, edit))
    return list(changes.values())


def large_plants(code: str, draw: random.Random) -> list[Plant]:
    """Return the function with one larger change each. ``draw`` chooses the pairs of small changes that are made together."""
    source = PythonSource.parsed(code)
    if source is None:
        return []
    right = _normal(code)
    plants = [Plant(name, edit.applied(code)) for name, operator in LARGE.items() for edit in operator(source)]
    plants += _pairs(code, draw)
    return [plant for plant in plants if _normal(plant.code) not in ("", right)]


def _pairs(code: str, draw: random.Random) -> Iterator[Plant]:
    """Yield the function with two small changes in different lines."""
    changes = _small_changes(code)
    for _ in range(PAIRS if len(changes) > 1 else 0):
        (_, first), (_, second) = sorted(draw.sample(changes, 2), key=lambda change: change[1].start)
        if "\n" in code[first.end : second.start]:
            halves = (first.applied(code), second.applied(code))
            yield Plant("two places", first.applied(second.applied(code)), halves)


def _guards(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take out an ``if`` which leaves the function or the round of the loop."""
    for _, block in source.blocks:
        for node in block:
            leaves = isinstance(node, ast.If) and isinstance(
                node.body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break
            )
            if leaves and not getattr(node, "orelse", []) and len(block) > 1 and source.begins_its_line(node):
                yield Edit(*source.lines_of(node), "", "")


def _branches(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take out all that follows the first branch of a condition."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If) and node.orelse and source.begins_its_line(node.body[-1]):
            yield Edit(source.lines_of(node.body[-1])[1], source.lines_of(node.orelse[-1])[1], "", "")


def _arguments(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take several arguments out of a call."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
            if len(given) >= 3:
                yield Edit(source.span(given[0])[1], source.span(given[-1])[1], "", "")
            elif len(node.keywords) == 2:
                yield Edit(source.span(given[0])[0], source.span(given[-1])[1], "", "")


def _chains(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that put ``x`` in the place of ``x.strip().lower()``."""
    for node in ast.walk(source.tree):
        inner = _receiver(node)
        base = _receiver(inner) if inner else None
        if base:
            yield source.replaced(node, source.text(base), "")


def _receiver(node: ast.AST) -> ast.expr | None:
    """Return the object whose method a call calls, or None if ``node`` is no such call."""
    return node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None


def _moved_out(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that move the last two statements of a loop behind it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.For | ast.While) and len(node.body) > 2 and not node.orelse:
            start, end = source.lines_of(node.body[-2])[0], source.lines_of(node.body[-1])[1]
            step = source.indentation(node.body[0]).removeprefix(source.indentation(node))
            lines = source.code[start:end].splitlines(keepends=True)
            yield Edit(start, end, "".join(line.removeprefix(step) for line in lines), "")


def _resets(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that move the first value of a name into the loop which follows, so that each round starts anew."""
    for _, block in source.blocks:
        for before, loop in pairwise(block):
            if isinstance(before, ast.Assign) and isinstance(loop, ast.For | ast.While):
                (start, middle), body = source.lines_of(before), source.lines_of(loop.body[0])[0]
                step = source.indentation(loop.body[0]).removeprefix(source.indentation(loop))
                moved = textwrap.indent(source.code[start:middle], step)
                yield Edit(start, body, source.code[middle:body] + moved, "")


def _filters(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take the conditions out of a comprehension."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.comprehension) and node.ifs:
            yield Edit(source.span(node.iter)[1], source.span(node.ifs[-1])[1], "", "")


def _slices(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that put ``x`` in the place of ``x[a:b]``, and ``x[a]`` in its place."""
    for node in ast.walk(source.tree):
        cut = node.slice if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) else None
        if isinstance(node, ast.Subscript) and cut and cut.lower and cut.upper:
            yield source.replaced(node, source.text(node.value), "")
            yield source.replaced(node, f"{source.text(node.value)}[{source.text(cut.lower)}]", "")


def _handlers(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that leave one of several exceptions to a handler."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Tuple):
            for kept in node.type.elts:
                yield source.replaced(node.type, source.text(kept), "")


def _defaults(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take out a statement which gives a name another value where it has none or a special one."""
    for _, block in source.blocks:
        for node in block:
            if len(block) > 1 and source.begins_its_line(node) and _is_default(node):
                yield Edit(*source.lines_of(node), "", "")


def _is_default(node: ast.stmt) -> bool:
    if isinstance(node, ast.If) and not node.orelse:
        return all(isinstance(inner, ast.Assign) for inner in node.body)
    value = node.value if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    first = value.values[0] if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) else None
    return first is not None and isinstance(node, ast.Assign) and ast.unparse(first) == ast.unparse(node.targets[0])


def _parts(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that put a part of an expression in its place, where that is much shorter."""
    for node in ast.walk(source.tree):
        for part in _parts_of(node):
            if _size(node) - _size(part) >= MIN_PART:
                yield source.replaced(node, source.text(part), "")


def _parts_of(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.BoolOp):
        return node.values
    return node.args[:1] if isinstance(node, ast.Call) and len(node.args) > 1 else []


def _size(node: ast.AST) -> int:
    return sum(isinstance(inner, ast.expr) for inner in ast.walk(node))


def _effects(source: PythonSource) -> Iterator[Edit]:
    """Yield the edits that take out two statements in a row that are run for their effects."""
    for _, block in source.blocks:
        for first, second in pairwise(block):
            if len(block) > 2 and _has_effect(first) and _has_effect(second):
                yield Edit(source.lines_of(first)[0], source.lines_of(second)[1], "", "")


def _has_effect(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return not any(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    return isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))


LARGE: dict[str, Callable[[PythonSource], Iterator[Edit]]] = {
    "guard removed": _guards,
    "branch removed": _branches,
    "arguments dropped": _arguments,
    "chain cut": _chains,
    "moved out of loop": _moved_out,
    "reset in loop": _resets,
    "filter removed": _filters,
    "slice simplified": _slices,
    "handler narrowed": _handlers,
    "default removed": _defaults,
    "part for whole": _parts,
    "effects removed": _effects,
}
"""The operators whose bugs are mended by more than one edit, by name. "two places" is one more, which needs no tree."""
