"""Determine which expressions of the checks carry results of the candidate, to decide which side of a comparison is ``got``.

The analysis goes by names alone, over the whole source, and ignores the order of statements. That is good enough to tell the two
sides apart. It is never used to decide whether a check passes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

CLEAN, ARGUMENT, RESULT, CALL = range(4)
"""The levels of taint, in ascending order.

``CLEAN``: nothing of the candidate. ``ARGUMENT``: a name that was passed to the candidate, which may have changed the object.
``RESULT``: a name that holds a result of the candidate. ``CALL``: a call of the candidate.
"""


class Taint:
    """The taint of every name in the checks."""

    def __init__(self, tree: ast.Module, entry_point: str) -> None:
        self._functions = {entry_point}
        self._levels: dict[str, int] = {}
        self._locals = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        check = self._locals.get("check")
        if check and check.args.args:
            self._functions.add(check.args.args[0].arg)
        # Here and below, sum() instead of any(): every name must be looked at, and any() would stop at the first new one.
        while sum(self._learn(node) for node in ast.walk(tree)):
            pass

    def of(self, expression: ast.AST) -> int:
        """Return the highest level of any part of the expression."""
        return max((self._of_part(part) for part in ast.walk(expression)), default=CLEAN)

    def is_result(self, expression: ast.AST) -> bool:
        """Return whether the expression is a call of the candidate, or a name that holds the result of such a call."""
        if isinstance(expression, ast.Call):
            return self._calls(expression)
        return isinstance(expression, ast.Name) and self._levels.get(expression.id, CLEAN) == RESULT

    def _of_part(self, part: ast.AST) -> int:
        if isinstance(part, ast.Call) and self._calls(part):
            return CALL
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in self._functions:
            return CALL
        return self._levels.get(part.id, CLEAN) if isinstance(part, ast.Name) else CLEAN

    def _calls(self, node: ast.Call) -> bool:
        return isinstance(node.func, ast.Name) and node.func.id in self._functions

    def _learn(self, node: ast.AST) -> bool:
        """Update the names that the node binds and return whether anything changed."""
        if isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Name) and node.value.id in self._functions:
                return self._alias(node.targets)
            return self._bind(node.targets, node.value)
        if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
            return self._bind([node.target], node.value)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            return self._bind([node.target], node.iter)
        if isinstance(node, ast.Call):
            return self._learn_call(node)
        return False

    def _learn_call(self, node: ast.Call) -> bool:
        if self._calls(node):
            names = [name for argument in node.args for name in _names(argument)]
            return sum(self._raise(name, ARGUMENT) for name in names) > 0
        target = self._locals.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if target is None:
            return False
        pairs = zip(target.args.args, node.args, strict=False)
        return sum(self._raise(parameter.arg, min(self.of(value), RESULT)) for parameter, value in pairs) > 0

    def _alias(self, targets: list[ast.expr]) -> bool:
        new = {target.id for target in targets if isinstance(target, ast.Name)} - self._functions
        self._functions |= new
        return bool(new)

    def _bind(self, targets: list[ast.expr], value: ast.expr) -> bool:
        level = self.of(value)
        if level < RESULT:
            return False
        return sum(self._raise(name, RESULT) for target in targets for name in _names(target)) > 0

    def _raise(self, name: str, level: int) -> bool:
        if name in self._functions or self._levels.get(name, CLEAN) >= level:
            return False
        self._levels[name] = level
        return True


def _names(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
