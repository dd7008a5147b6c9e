"""Determine which expressions in the checks hold results of the candidate, to tell which side of a comparison is ``got``.

The analysis looks only at names. It covers the whole source and ignores the order of the statements. That is enough to tell the two
sides of a comparison apart, and it never decides whether a check passes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

# The levels of taint, in ascending order.
CLEAN = 0
"""The expression holds nothing of the candidate."""
ARGUMENT = 1
"""The expression is a name that was passed to the candidate, which may have changed the object."""
RESULT = 2
"""The expression is a name that holds a result of the candidate."""
CALL = 3
"""The expression is a call of the candidate, or an attribute of the entry point."""


class Taint:
    """The taint of every name in the checks.

    The candidate is called by the name ``entry_point``, by the parameter of ``check``, or by a name to which one of them was
    assigned.
    """

    def __init__(self, tree: ast.Module, entry_point: str) -> None:
        self._functions = {entry_point}
        self._levels: dict[str, int] = {}
        self._helpers = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        check = self._helpers.get("check")
        if check and check.args.args:
            self._functions.add(check.args.args[0].arg)
        # The statements are visited until a whole pass changes nothing, since one may use a name that a later one binds. Here and
        # below, sum() takes the place of any(), which would stop at the first change and leave the other names unvisited.
        while sum(self._learn(node) for node in ast.walk(tree)):
            pass

    def level_of(self, expression: ast.AST) -> int:
        """Return the highest level of taint in any part of the expression."""
        return max((self._level_of_part(part) for part in ast.walk(expression)), default=CLEAN)

    def is_result(self, expression: ast.AST) -> bool:
        """Return whether the expression is a call of the candidate, or a name that holds the result of such a call."""
        if isinstance(expression, ast.Call):
            return self._calls_candidate(expression)
        return isinstance(expression, ast.Name) and self._levels.get(expression.id, CLEAN) == RESULT

    def _level_of_part(self, part: ast.AST) -> int:
        if isinstance(part, ast.Call) and self._calls_candidate(part):
            return CALL
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in self._functions:
            return CALL
        return self._levels.get(part.id, CLEAN) if isinstance(part, ast.Name) else CLEAN

    def _calls_candidate(self, node: ast.Call) -> bool:
        return isinstance(node.func, ast.Name) and node.func.id in self._functions

    def _learn(self, node: ast.AST) -> bool:
        """Update the levels of the names that the node binds or passes, and return whether any of them changed."""
        if isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Name) and node.value.id in self._functions:
                return self._add_aliases(node.targets)
            return self._bind(node.targets, node.value)
        if isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
            return self._bind([node.target], node.value)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            return self._bind([node.target], node.iter)
        if isinstance(node, ast.Call):
            return self._learn_call(node)
        return False

    def _learn_call(self, node: ast.Call) -> bool:
        """Taint the arguments of a call of the candidate, or the parameters of a function of the checks that is called."""
        if self._calls_candidate(node):
            names = [name for argument in node.args for name in _names(argument)]
            return sum(self._raise_level(name, ARGUMENT) for name in names) > 0
        helper = self._helpers.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if helper is None:
            return False
        pairs = zip(helper.args.args, node.args, strict=False)
        return (
            sum(self._raise_level(parameter.arg, min(self.level_of(value), RESULT)) for parameter, value in pairs) > 0
        )

    def _add_aliases(self, targets: list[ast.expr]) -> bool:
        aliases = {target.id for target in targets if isinstance(target, ast.Name)} - self._functions
        self._functions |= aliases
        return bool(aliases)

    def _bind(self, targets: list[ast.expr], value: ast.expr) -> bool:
        if self.level_of(value) < RESULT:
            return False
        return sum(self._raise_level(name, RESULT) for target in targets for name in _names(target)) > 0

    def _raise_level(self, name: str, level: int) -> bool:
        """Raise the level of a name, and return whether that changed it."""
        if name in self._functions or self._levels.get(name, CLEAN) >= level:
            return False
        self._levels[name] = level
        return True


def _names(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
