"""Find out what examples are about: the function or class that they call, and its parameters as far as they can be told.

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
"""The functions that checks may call without an import (``sandbox/grading/tools.py``), as far as examples use them."""
_OF_SESSIONS = frozenset({"repr", "str", "map"})
"""The built-in functions that the examples of a session may be translated with."""
_BUILTINS = frozenset(dir(builtins))
_NOUNS: dict[type[Any], str] = {
    str: "text", bytes: "data", bool: "flag", int: "number", float: "number", list: "items", tuple: "items", set: "items",
    dict: "mapping",
}  # fmt: skip
"""The name of a parameter by the type of its argument, where nothing else names it."""
_VALUE = "value"
"""The name of a parameter whose arguments have no type in common."""
_MENTIONED = re.compile(r"(?<![\w.])([^\W\d]\w*)\([^()]*\)")
"""Matches the name of a function in prose, with what stands in brackets behind it."""


@dataclass(frozen=True)
class Subject:
    """What is to be written."""

    name: str
    """The name of the function or class, or empty if nothing names it."""
    signature: str
    """The line that it begins with, such as ``def f(x):``, or empty if its parameters cannot be told."""


def subject_of(typed: Typed) -> Subject:
    """Return what the examples call, or without examples what the statement names.

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
    """The names that an example uses."""

    def __init__(self, example: Example) -> None:
        self.line = example.line
        nodes = [node for text in example.statements for node in ast.walk(parse_quietly(text))]
        self.calls = [node for node in nodes if isinstance(node, ast.Call)]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        self.loaded = [node.id for node in names if isinstance(node.ctx, ast.Load)]
        self.bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
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
    # A task may ask for a function of a name that Python has, too. In sorted(f(2)) and the like, f is what is asked for.
    candidates = own or [name for name in names if name not in _OF_SESSIONS] or names
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
    """Return the line that the function or class begins with, or an empty string if its parameters cannot be told."""
    if name[:1].isupper():
        return f"class {name}:"
    written = re.search(rf"^[ \t]*((?:async[ \t]+)?def[ \t]+{name}\(.*)$", statement, re.MULTILINE)
    mentioned = re.search(rf"(?<![\w.]){name}\(([\w\s,]*)\)", statement)
    texts = [written[1].rstrip().rstrip(":") + ":"] if written else []
    texts += [f"def {name}({mentioned[1]}):"] if mentioned else []
    parameters = _parameters(calls)
    texts += [f"def {name}({', '.join(parameters)}):"] if parameters is not None else []
    # What stands in brackets behind the name may be arguments, as in f(2), and then it is no signature.
    return next((text for text in texts if parse(f"{text} pass") is not None), "")


def _parameters(calls: Sequence[ast.Call]) -> list[str] | None:
    """Return the parameters that ``calls`` suggest, or None if the calls differ in which arguments they have."""
    shapes = {(len(call.args), tuple(keyword.arg for keyword in call.keywords)) for call in calls}
    has_stars = any(isinstance(argument, ast.Starred) for call in calls for argument in call.args)
    if len(shapes) != 1 or has_stars:
        return None
    n_positional, keywords = shapes.pop()
    nouns = [_noun([call.args[i] for call in calls]) for i in range(n_positional)]
    named = [keyword for keyword in keywords if keyword is not None]
    return [*_told_apart(nouns), *named] if len(named) == len(keywords) else None


def _noun(arguments: Sequence[ast.expr]) -> str:
    """Return a name for the parameter that takes ``arguments``, by their type."""
    nouns = {_noun_of(argument) for argument in arguments}
    return nouns.pop() if len(nouns) == 1 else _VALUE


def _noun_of(argument: ast.expr) -> str:
    try:
        return _NOUNS.get(type(literal(ast.unparse(argument))), _VALUE)
    except (ValueError, SyntaxError, TypeError):
        return _VALUE


def _told_apart(nouns: Sequence[str]) -> Iterator[str]:
    """Yield the nouns, with numbers behind those that occur several times."""
    n_all, n_seen = Counter(nouns), Counter[str]()
    for noun in nouns:
        n_seen[noun] += 1
        yield f"{noun}{n_seen[noun]}" if n_all[noun] > 1 else noun
