"""Edits that write what a program leaves out: the value of a ``return`` that returns nothing, and a statement in place of ``pass``.

What was lost cannot be read off the program, so the edits write what is common in short functions: a name of the function, a call
on a name, or one of two names added to the other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.python_source import PythonSource, names_bound_in

MAX_NAMES = 8
"""The largest number of names that are written in the place of one omission. Those of inner blocks come first."""
COMMON_VALUES = ("True", "False", "0", "-1", "1", "[]", "''", "{}")
WRAPPERS = ("len", "sum", "sorted", "list", "tuple", "set", "max", "min", "str", "''.join")
"""Functions of one argument by which short functions often turn what they collected into what they return."""


def omission_edits(source: PythonSource) -> Iterator[Edit]:
    """Yield every edit that replaces a ``return`` without a value, ``return None`` or ``pass``."""
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            own = list(_own_statements(function))
            for node in own:
                if isinstance(node, ast.Return) and _returns_nothing(node):
                    for value in _values(source, function, own):
                        yield source.replaced(node, f"return {value}", "value")
                elif isinstance(node, ast.Pass):
                    for text in _effects(function, own):
                        yield source.replaced(node, text, "effect")


def _own_statements(function: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a function without those of the functions and classes inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own_statements(node)


def _returns_nothing(node: ast.Return) -> bool:
    return node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)


def _values(source: PythonSource, function: ast.AST, own: list[ast.stmt]) -> Iterator[str]:
    others = [node.value for node in own if isinstance(node, ast.Return) and node.value and not _returns_nothing(node)]
    yield from dict.fromkeys([*map(source.text, others), *COMMON_VALUES])
    for name in _innermost_first(function):
        yield name
        yield f"not {name}"
        yield f"{name}[::-1]"
        yield from (f"{wrapper}({name})" for wrapper in WRAPPERS)


def _effects(function: ast.AST, own: list[ast.stmt]) -> Iterator[str]:
    """Yield the statements that add one name, or 1, to a name that begins as a list, a set, a dictionary, a number or a text."""
    for name, value in _initial_values(own):
        others = [other for other in _innermost_first(function) if other != name]
        if isinstance(value, ast.List):
            yield from (f"{name}.append({other})" for other in others)
        elif isinstance(value, ast.Dict):
            yield from (f"{name}[{key}] = {name}.get({key}, 0) + 1" for key in others)
        elif isinstance(value, ast.Call):
            yield from (f"{name}.add({other})" for other in others)
        else:
            yield from (f"{name} {sign}= {other}" for other in ("1", *others) for sign in "+-")


def _initial_values(own: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in own:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.List | ast.Dict | ast.Constant) or _is_empty_set(value):
                yield node.targets[0].id, value


def _is_empty_set(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "set"


def _innermost_first(function: ast.AST) -> list[str]:
    return names_bound_in(function)[::-1][:MAX_NAMES]
