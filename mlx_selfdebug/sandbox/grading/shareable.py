"""Decide whether checks keep to themselves, so that the grader that ran them may run other checks afterwards.

The decision is based on the text of the checks alone, and it is strict. The checks may import only modules that hold no state.
They may name no attribute that starts with an underscore or leads to another module, and may store attributes on ``self`` alone.
They may name no built-in that reaches a namespace by name. Checks that do not qualify are not refused: each of their runs gets a
grader of its own.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from types import ModuleType

STATELESS = frozenset(
    {"bisect", "collections", "copy", "datetime", "fractions", "functools", "heapq", "itertools", "math", "random", "re",
     "string", "typing"}
)  # fmt: skip
_REACHING_BUILTINS = frozenset(
    {
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "getattr",
        "globals",
        "input",
        "locals",
        "open",
        "setattr",
        "vars",
    }
)


def keeps_to_itself(*trees: ast.Module) -> bool:
    """Return whether the parsed checks touch nothing but their own objects."""
    return all(_harmless(node) for tree in trees for node in ast.walk(tree))


def _harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name in STATELESS for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module in STATELESS and all(map(_harmless_name, node.names))
    if isinstance(node, ast.Attribute):
        return _harmless_attribute(node)
    if isinstance(node, ast.Name):
        return node.id not in _REACHING_BUILTINS and not node.id.startswith("__")
    return True


def _harmless_name(alias: ast.alias) -> bool:
    return alias.name != "*" and not alias.name.startswith("_") and alias.name not in _modules_within()


def _harmless_attribute(node: ast.Attribute) -> bool:
    if node.attr.startswith("_") or node.attr in _modules_within():
        return False
    return isinstance(node.ctx, ast.Load) or (isinstance(node.value, ast.Name) and node.value.id == "self")


@cache
def _modules_within() -> frozenset[str]:
    """Return the names under which the stateless modules hold other modules."""
    modules = map(importlib.import_module, sorted(STATELESS))
    return frozenset(
        name for module in modules for name, value in vars(module).items() if isinstance(value, ModuleType)
    )
