"""Read the decorators of tests, which pytest calls marks.

``parametrize`` gives the values that a test runs with. Some marks keep a test from being run, and the others change nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.translating.imports import Imports

PARAMETRIZE, MARK = "pytest.mark.parametrize", "pytest.mark."
NOT_EMPTY = "_not_empty"
NOT_EMPTY_SOURCE = f"""\
def {NOT_EMPTY}(values):
    values = list(values)
    if not values: raise LookupError('parametrize has no values, so that its test does not run')
    return values
"""
"""The source of a function that raises LookupError if computed values are empty.

Values may be computed from files, for example, which a test run does not have.
"""
_REFUSED = frozenset({"skip", "skipif", "xfail", "usefixtures"})
"""The marks that keep a test from being run. Custom marks are ignored."""
_ARGUMENTS = ("argnames", "argvalues", "indirect", "ids", "scope")


def argument_variable(name: str) -> str:
    """Return the variable of ``check`` that holds the value of the argument ``name``.

    No module is likely to have a variable of this name. If one had, the loop over its values would hide it.
    """
    return f"_check_argument_{name}"


@dataclass(frozen=True)
class Parameters:
    """What one ``parametrize`` says."""

    names: tuple[str, ...]
    """The names of the arguments."""
    values: ast.expr
    """The expression for their values."""
    is_bare: bool
    """Whether each value belongs to a single name. Otherwise each is a sequence with one value per name."""

    def loop(self, values: str, *, with_params: bool) -> str:
        """Return the first line of a ``for`` loop that binds the variable of each name (see ``argument_variable``) to its value.

        ``values`` is the source of the values. With ``with_params``, some of them may be ``param(...)`` (see assertions.py).
        """
        names = [argument_variable(name) for name in self.names]
        if not isinstance(self.values, ast.List | ast.Tuple):
            values = f"{NOT_EMPTY}({values})"
        if self.is_bare and not with_params:
            return f"for {names[0]} in {values}:"
        if self.is_bare:
            values = f"[item if isinstance(item, param) else (item,) for item in {values}]"
        return f"for {', '.join(names)}{',' if len(names) == 1 else ''} in {values}:"


def read_marks(decorators: Sequence[ast.expr], imports: Imports, named: Mapping[str, ast.expr]) -> list[Parameters]:
    """Return the parameters of each ``parametrize`` among the decorators.

    ``named`` holds the marks that the module assigns to names. Raises ValueError for a decorator that is neither a mark that can be
    ignored nor ``staticmethod`` or ``classmethod``.
    """
    parameters = []
    for decorator in decorators:
        mark = named.get(decorator.id, decorator) if isinstance(decorator, ast.Name) else decorator
        function = mark.func if isinstance(mark, ast.Call) else mark
        origin = imports.origin(function)
        if origin == PARAMETRIZE and isinstance(mark, ast.Call):
            parameters.append(_parametrize(mark))
        elif origin.startswith(MARK) and origin.removeprefix(MARK) not in _REFUSED:
            continue
        elif not (isinstance(function, ast.Name) and function.id in ("staticmethod", "classmethod")):
            raise ValueError(f"the decorator {ast.unparse(decorator)} is not supported")
    return parameters


def marks_in(node: ast.expr) -> list[ast.expr]:
    """Return the marks in the value of ``pytestmark = ...``, which is one mark or a list of them."""
    return list(node.elts) if isinstance(node, ast.List | ast.Tuple) else [node]


def named_marks(assigned: Mapping[str, ast.expr], imports: Imports) -> dict[str, ast.expr]:
    """Return the marks that a module assigns to names, as in ``many = pytest.mark.parametrize(...)``."""
    return {name: value for name, value in assigned.items() if _is_mark(value, imports)}


def _is_mark(node: ast.expr, imports: Imports) -> bool:
    return imports.origin(node.func if isinstance(node, ast.Call) else node).startswith(MARK)


def _parametrize(call: ast.Call) -> Parameters:
    arguments = dict(zip(_ARGUMENTS, call.args, strict=False)) | {
        word.arg or "**": word.value for word in call.keywords
    }
    if any(isinstance(value, ast.Starred) for value in call.args) or not {"argnames", "argvalues"} <= arguments.keys():
        raise ValueError(f"{ast.unparse(call)}: parametrize needs names and values")
    indirect = arguments.get("indirect", ast.Constant(False))
    if not (isinstance(indirect, ast.Constant) and indirect.value is False):
        raise ValueError("parametrize with indirect is not supported, since it needs a fixture")
    try:
        names = ast.literal_eval(arguments["argnames"])
    except ValueError:
        names = None
    parts = [part.strip() for part in names.split(",")] if isinstance(names, str) else names
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, str) for part in parts):
        raise ValueError(
            f"parametrize({ast.unparse(arguments['argnames'])}, ...): the names have to be written as strings"
        )
    if ast.unparse(arguments["argvalues"]) in ("[]", "()"):
        raise ValueError("parametrize without any values is not supported, since the test would not run")
    parts = [part for part in parts if part]
    return Parameters(tuple(parts), arguments["argvalues"], isinstance(names, str) and len(parts) == 1)
