"""Read the decorators of tests, which pytest calls marks.

``parametrize`` gives the values that a test runs with. Tests with ``skip``, ``skipif``, ``xfail`` or ``usefixtures`` are not
translated (ValueError). All other marks are ignored.
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

For example, the values may be read from files that are missing inside the sandbox.
"""
_REFUSED = frozenset({"skip", "skipif", "xfail", "usefixtures"})
"""The marks with which a test is not translated."""
_ARGUMENTS = ("argnames", "argvalues", "indirect", "ids", "scope")
"""The parameters of ``parametrize`` itself, in order."""


def variable_for(name: str) -> str:
    """Return the variable of ``check`` that holds the value of the argument ``name``.

    The prefix makes a clash with a variable of the module unlikely.
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
        """Return the first line of a ``for`` loop that binds the variable of each name (see ``variable_for``) to its value.

        ``values`` is the source of the values. With ``with_params``, some of them may be ``param(...)`` (see assertions.py), which
        is a sequence with one value per name. A bare value is then put into a tuple, so that it can be unpacked like a ``param``.
        For the values ``[1, 2]``, without the prefix of the variables:

            "x, y"                 for x, y in ...:
            "x"                    for x in ...:
            "x", with_params       for x, in [item if isinstance(item, param) else (item,) for item in ...]:
        """
        names = [variable_for(name) for name in self.names]
        if not isinstance(self.values, ast.List | ast.Tuple):
            values = f"{NOT_EMPTY}({values})"
        if self.is_bare and not with_params:
            return f"for {names[0]} in {values}:"
        if self.is_bare:
            values = f"[item if isinstance(item, param) else (item,) for item in {values}]"
        return f"for {', '.join(names)}{',' if len(names) == 1 else ''} in {values}:"


def read_marks(
    decorators: Sequence[ast.expr], imports: Imports, marks_by_name: Mapping[str, ast.expr]
) -> list[Parameters]:
    """Return the parameters of each ``parametrize`` among the decorators.

    ``marks_by_name`` holds the marks that the module assigns to names. Marks in ``_REFUSED`` and decorators other than marks,
    ``staticmethod`` and ``classmethod`` raise ValueError. So does a ``parametrize`` that cannot be translated.
    """
    parameters = []
    for decorator in decorators:
        mark = marks_by_name.get(decorator.id, decorator) if isinstance(decorator, ast.Name) else decorator
        function = mark.func if isinstance(mark, ast.Call) else mark
        origin = imports.origin(function)
        if origin == PARAMETRIZE:
            if not isinstance(mark, ast.Call):
                raise ValueError(f"{ast.unparse(decorator)}: parametrize needs names and values")
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
    """Read the call of a ``parametrize``. Raises ValueError if it cannot be translated."""
    arguments = dict(zip(_ARGUMENTS, call.args, strict=False)) | {
        keyword.arg or "**": keyword.value for keyword in call.keywords
    }
    if any(isinstance(value, ast.Starred) for value in call.args) or not {"argnames", "argvalues"} <= arguments.keys():
        raise ValueError(f"{ast.unparse(call)}: parametrize needs names and values")
    indirect = arguments.get("indirect", ast.Constant(False))
    if not (isinstance(indirect, ast.Constant) and indirect.value is False):
        raise ValueError("parametrize with indirect is not supported, since it needs a fixture")
    names, is_bare = _argument_names(arguments["argnames"])
    if ast.unparse(arguments["argvalues"]) in ("[]", "()"):
        raise ValueError("parametrize without any values is not supported, since the test would not run")
    return Parameters(names, arguments["argvalues"], is_bare)


def _argument_names(node: ast.expr) -> tuple[tuple[str, ...], bool]:
    """Return the names that ``parametrize`` is given, and whether each value belongs to a single name (see ``Parameters.is_bare``).

    The names are one string with commas, or a list or tuple of strings. Raises ValueError for anything else and for no name at all.
    """
    try:
        given = ast.literal_eval(node)
    except (ValueError, TypeError):  # TypeError for a dict or set with a member that cannot be hashed
        given = None
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"parametrize({ast.unparse(node)}, ...): the names have to be written as strings")
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"parametrize({ast.unparse(node)}, ...): at least one name is needed")
    return tuple(names), isinstance(given, str) and len(names) == 1
