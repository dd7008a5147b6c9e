"""Decide whether checks touch nothing but their own objects, so that the grader that ran them may run other checks afterwards.

The decision is based on the text of the checks alone, and it is strict:

- They import only modules that hold no state.
- They name no attribute that starts with an underscore or leads to another module, and set attributes only on ``self``.
- They name no built-in that reaches objects by their names, runs code from text, or reads input or files.

Checks that do not qualify are not refused: each of their runs gets a grader of its own.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from types import ModuleType

_STATELESS_MODULES = frozenset(
    {"bisect", "collections", "copy", "datetime", "fractions", "functools", "heapq", "itertools", "math", "random", "re",
     "string", "typing"}
)  # fmt: skip
"""Modules in which one run leaves nothing for the next one to see. Of ``random``, each run has its own (see namespace.py)."""
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
"""Built-ins that reach objects by their names, run code from text, or read input or files."""


def are_shareable(checks: str, setup: str) -> bool:
    """Return whether a grader that ran these checks may run others afterwards. Raises SyntaxError if one source does not parse."""
    return all(_is_harmless(node) for source in (checks, setup) for node in ast.walk(ast.parse(source)))


def _is_harmless(node: ast.AST) -> bool:
    """Return whether a node, without the nodes below it, touches nothing but the checks' own objects."""
    if isinstance(node, ast.Import):
        return all(alias.name in _STATELESS_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module in _STATELESS_MODULES and all(map(_is_harmless_import, node.names))
    if isinstance(node, ast.Attribute):
        return _is_harmless_attribute(node)
    if isinstance(node, ast.Name):
        return node.id not in _REACHING_BUILTINS and not node.id.startswith("__")
    return True


def _is_harmless_import(alias: ast.alias) -> bool:
    return alias.name != "*" and not alias.name.startswith("_") and alias.name not in _inner_modules()


def _is_harmless_attribute(node: ast.Attribute) -> bool:
    if node.attr.startswith("_") or node.attr in _inner_modules():
        return False
    return isinstance(node.ctx, ast.Load) or (isinstance(node.value, ast.Name) and node.value.id == "self")


@cache
def _inner_modules() -> frozenset[str]:
    """Return the names under which the stateless modules hold other modules, such as ``re.enum``."""
    modules = map(importlib.import_module, sorted(_STATELESS_MODULES))
    return frozenset(
        name for module in modules for name, value in vars(module).items() if isinstance(value, ModuleType)
    )
