"""Find out which function or class the examples of a typed task call, and guess the names of its parameters.

>>> from mlx_selfdebug.translating.typed import read_typed
>>> subject_of(read_typed("Return the number of vowels.\\nvowels('audio') == 4"))
Subject(name='vowels', signature='def vowels(text):')
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.parsing import literal, parse, parse_quietly
from mlx_selfdebug.translating.typed import FORMS_HINT, Example, Typed

TOOLS = frozenset({"raises", "approx", "almost_equal", "shows"})
"""Those of the functions that checks may call without an import (``sandbox/grading/tools.py``) which examples use."""
_ADDED_BY_DOCTESTS = frozenset({"repr", "str", "map"})
"""The built-in functions whose calls ``doctests.py`` may add to an example."""
_BUILTINS = frozenset(dir(builtins))
_PARAMETER_NAMES: dict[type[Any], str] = {
    str: "text", bytes: "data", bool: "flag", int: "number", float: "number", list: "items", tuple: "items", set: "items",
    dict: "mapping",
}  # fmt: skip
"""The name of a parameter by the type of its arguments, where the task does not name it."""
_ANY_PARAMETER = "value"
"""The name of a parameter whose arguments have no type in common, or a type that is not listed."""
_MENTIONED = re.compile(r"(?<![\w.])([^\W\d]\w*)\([^()]*\)")
"""Matches a function that prose mentions with its arguments, such as ``double(x)``. The group is its name."""


@dataclass(frozen=True)
class Subject:
    """The function or class that a task asks for."""

    name: str
    """The name of the function or class, or empty if the task does not name it."""
    signature: str
    """The first line of its definition, such as ``def f(x):``, or empty if its parameters are not known."""


def subject_of(typed: Typed) -> Subject:
    """Return the function or class that the examples call. Without examples, return the first one that the statement mentions.

    Raises TaskError if the examples call several functions or none, or use names that have no value.
    """
    if not typed.examples:
        names = [name for name in _MENTIONED.findall(typed.statement) if name not in _BUILTINS and not iskeyword(name)]
        name = next(iter(names), "")
        return Subject(name, _signature(name, [], typed.statement) if name else "")
    uses = [_Use(example) for example in typed.examples]
    name = _name(uses)
    _require_values(uses, name)
    calls = [call for use in uses for call in use.calls if _called(call) == name]
    return Subject(name, _signature(name, calls, typed.statement))


class _Use:
    """The calls and names in an example."""

    def __init__(self, example: Example) -> None:
        self.line = example.line
        nodes = [node for text in example.statements for node in ast.walk(parse_quietly(text))]
        self.calls = [node for node in nodes if isinstance(node, ast.Call)]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        self.loaded = [node.id for node in names if isinstance(node.ctx, ast.Load)]
        """The names whose values the example uses."""
        self.bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
        """The names to which the example itself gives a value: by an assignment, an import, or as a parameter of a lambda."""
        self.bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        aliases = [node for node in nodes if isinstance(node, ast.alias)]
        self.bound |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}


def _called(call: ast.Call) -> str:
    """Return the name of what is called, or an empty string if it is called by anything but a name."""
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _name(uses: Sequence[_Use]) -> str:
    """Return the name of the function or class that all examples call."""
    bound = set[str]().union(*(use.bound for use in uses))
    lines: dict[str, int] = {}
    for use in uses:
        for call in use.calls:
            lines.setdefault(_called(call), use.line)
    names = [name for name in lines if name and name not in bound | TOOLS]
    own = [name for name in names if name not in _BUILTINS]
    # In ``sorted(f(2)) == [1, 2]``, the task asks for ``f``. It asks for a function with the name of a built-in one only if the
    # examples call no other.
    candidates = own or [name for name in names if name not in _ADDED_BY_DOCTESTS] or names
    if len(candidates) > 1:
        where = ", ".join(f"{name} (line {lines[name]})" for name in candidates)
        raise TaskError(
            f"the examples call different functions: {where}", hint="give the examples of a single function or class"
        )
    if not candidates:
        raise TaskError("the examples call no function, so it is not known what to write", hint=FORMS_HINT)
    return candidates[0]


def _require_values(uses: Sequence[_Use], name: str) -> None:
    """Raise TaskError if an example uses names that nothing gives a value, as in ``double(x) == 2 * x``."""
    known = set[str]().union(*(use.bound for use in uses)) | _BUILTINS | TOOLS | {name}
    problems = [
        f"line {use.line}: {unknown} has no value"
        for use in uses
        for unknown in dict.fromkeys(use.loaded)
        if unknown not in known
    ]
    if problems:
        hint = "call it with values, or set or import the name before, in a line that begins with >>>"
        raise TaskError("not every example can be checked", problems=problems, hint=hint)


def _signature(name: str, calls: Sequence[ast.Call], statement: str) -> str:
    """Return the first line of the definition of a function or class, or an empty string if its parameters are not known.

    A ``def`` line in the statement comes first, then a mention such as ``double(x)`` in it, then a guess by the calls.
    """
    if name[:1].isupper():
        return f"class {name}:"
    signatures: list[str] = []
    if written := re.search(rf"^[ \t]*((?:async[ \t]+)?def[ \t]+{name}\(.*)$", statement, re.MULTILINE):
        signatures.append(written[1].rstrip().rstrip(":") + ":")
    if mentioned := re.search(rf"(?<![\w.]){name}\(([\w\s,]*)\)", statement):
        signatures.append(f"def {name}({mentioned[1]}):")
    parameters = _parameters(calls)
    if parameters is not None:
        signatures.append(f"def {name}({', '.join(parameters)}):")
    # A mention may have arguments instead of parameters, as in ``double(2)``. Then it does not parse as a definition.
    return next((signature for signature in signatures if parse(f"{signature} pass") is not None), "")


def _parameters(calls: Sequence[ast.Call]) -> list[str] | None:
    """Return the names of parameters that fit all ``calls``, or None if the calls have different arguments.

    The calls ``f(2, 3)`` and ``f(4, 5)`` give the parameters "number1" and "number2".
    """
    shapes = {(len(call.args), tuple(keyword.arg for keyword in call.keywords)) for call in calls}
    has_stars = any(isinstance(argument, ast.Starred) for call in calls for argument in call.args)
    if len(shapes) != 1 or has_stars:
        return None
    n_positional, keywords = shapes.pop()
    if None in keywords:  # ``**`` in a call
        return None
    positional = [_parameter_name([call.args[i] for call in calls]) for i in range(n_positional)]
    return [*_numbered(positional), *(keyword for keyword in keywords if keyword is not None)]


def _parameter_name(arguments: Sequence[ast.expr]) -> str:
    """Return a name for the parameter that takes all of ``arguments``, by their type."""
    names = {_name_by_type(argument) for argument in arguments}
    return names.pop() if len(names) == 1 else _ANY_PARAMETER


def _name_by_type(argument: ast.expr) -> str:
    """Return a name for the parameter that takes one argument. The type is known only if the argument is a literal."""
    try:
        return _PARAMETER_NAMES.get(type(literal(ast.unparse(argument))), _ANY_PARAMETER)
    except (ValueError, SyntaxError):
        return _ANY_PARAMETER


def _numbered(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, with numbers behind those that occur several times."""
    n_all, n_seen = Counter(names), Counter[str]()
    for name in names:
        n_seen[name] += 1
        yield f"{name}{n_seen[name]}" if n_all[name] > 1 else name
