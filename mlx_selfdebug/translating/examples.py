"""Turn the examples in a docstring into asserts.

The forms that are read are ``>>> f(2)`` with its output, ``f(2) == 4``, ``f(2) ➞ 4``, ``f(2) returns 4``,
``For x = 2 the output should be 4``, and ``Input: x = 2`` with ``Output: 4``.

Only a call of the function with literal arguments and a literal expected value counts. Anything in doubt is left out: a value that
is followed by other text than a remark in brackets, for example, or a comparison in a session whose output is not True. Docstrings
contain mistakes, so the caller must compare each example with a reference.

    >>> docstring_asserts("f(2) -> 4", "f", ("x",))
    ['assert f(2) == 4']
    >>> docstring_asserts("f(x) -> x * x", "f", ("x",))  # no literals
    []
    >>> docstring_asserts("f(2) -> 4, or so", "f", ("x",))  # other text after the value
    []
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlx_selfdebug.parsing import parse_expression, parse_quietly

MAX_CALL_CHARS = 2000
"""A longer call is not read as an example."""
_ARROW = re.compile(r"[ \t]*(?P<comment>#[ \t]*)?(?P<sign>==>|=>|==|->|➞|=|returns\b|should return\b)[ \t]*")
"""Matches the sign between a call and its value on one line. Only ``==`` without ``#`` before it makes a comparison in Python."""
_SESSION_PROMPT = re.compile(r">>>[ \t]*$")
_SENTENCE = re.compile(
    r"\bFor (?P<args>.+?),?\s+(?:the (?P<aside>[^=\n]*?))?the (?:output|result) should be ", re.IGNORECASE
)
"""Matches what comes before the value in "For x = 2 the output should be 4"."""
_LABELS = re.compile(r"\bInput:(?P<args>.*?)\bOutput:[ \t]*", re.DOTALL)
"""Matches what comes before the value in "Input: x = 2 Output: 4"."""
_CALCULATION = re.compile(r"[\d\s+*/()-]+ = (?=-?\d+\s*$)")
"""Matches a calculation before its result, as in "1 + 2 = 3"."""
_AFTER_VALUE = re.compile(r"[ \t]*\.?[ \t]*(?:[#(].*)?$")
"""Matches what may follow a value on its line: a full stop, and a comment or a remark in brackets."""
_BOOLEANS = {"true": "True", "false": "False"}
"""Literals of other languages that docstrings contain, with those of Python."""


class _Example(NamedTuple):
    """A call and its value, as a text gives them."""

    start: int
    """The index in the text at which the example begins."""
    arguments: str
    """The arguments as they are written in a call: ``1, y=2``."""
    value: str
    """The expected value as a Python literal."""


class _Arguments(NamedTuple):
    """The arguments of a call as Python literals."""

    positional: list[str]
    named: dict[str, str]


def docstring_asserts(text: str, entry_point: str, parameters: Sequence[str], alias: str = "") -> list[str]:
    """Return the examples in ``text`` as asserts in their order, each once.

    ``parameters`` are the names of the function's parameters. ``alias`` is the name that the text uses for the function, if that is
    not ``entry_point``.
    """
    examples = sorted([*_calls(text, alias or entry_point), *_labelled(text, parameters)])
    asserts = [f"assert {entry_point}({example.arguments}) == {example.value}" for example in examples]
    return list(dict.fromkeys(asserts))


def _calls(text: str, name: str) -> Iterator[_Example]:
    """Yield the examples that are written as a call of the function ``name``."""
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\(", text):
        end = _closing(text, match.end() - 1)
        arguments = _arguments(text[match.end() : end - 1]) if end else None
        if arguments is None:
            continue
        in_session = _SESSION_PROMPT.search(text, 0, match.start()) is not None
        value = _value_in_session(text[end:]) if in_session else _value_after_arrow(text[end:])
        if value is not None:
            named = [f"{name}={argument}" for name, argument in arguments.named.items()]
            yield _Example(match.start(), ", ".join([*arguments.positional, *named]), value)


def _labelled(text: str, parameters: Sequence[str]) -> Iterator[_Example]:
    """Yield the examples that give the arguments without a call: by name in the order of ``parameters``, or by position."""
    for match in [*_SENTENCE.finditer(text), *_LABELS.finditer(text)]:
        arguments = _arguments(match["args"].strip())
        value = _line_value(text[match.end() :])
        if arguments is None or value is None:
            continue
        by_position = len(arguments.positional) == len(parameters) and not arguments.named
        by_name = list(arguments.named) == list(parameters) and not arguments.positional
        if by_position or by_name:
            yield _Example(match.start(), ", ".join([*arguments.positional, *arguments.named.values()]), value)


def _closing(text: str, start: int) -> int | None:
    """Return the index after the bracket that closes the one at ``start``, or None if no bracket completes a call that parses."""
    for bracket in re.finditer(r"\)", text[start : start + MAX_CALL_CHARS]):
        end = start + bracket.end()
        try:
            parse_quietly("f" + text[start:end])
        except (SyntaxError, ValueError):
            continue
        return end
    return None


def _arguments(text: str) -> _Arguments | None:
    """Return the arguments of a call, given the text between its brackets, or None if it holds anything but literals."""
    try:
        call = parse_expression(f"f({text})")
    except (SyntaxError, ValueError):
        return None
    # ``2)(3`` would make a call of what a call returns.
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    arguments = _Arguments([], {})
    for node in call.args:
        value = normal_literal(ast.unparse(node))
        if value is None:
            return None
        arguments.positional.append(value)
    for keyword in call.keywords:
        value = normal_literal(ast.unparse(keyword.value))
        # ``**{'x': 2}`` has no name.
        if value is None or keyword.arg is None or keyword.arg in arguments.named:
            return None
        arguments.named[keyword.arg] = value
    return arguments


def _value_after_arrow(rest: str) -> str | None:
    """Return the value that follows a call and an arrow on the same line, or None."""
    arrow = _ARROW.match(rest)
    return _line_value(rest[arrow.end() :]) if arrow else None


def _value_in_session(rest: str) -> str | None:
    """Return the value of a call that is entered in a session: after an arrow on its line, or as the output below.

    If there are both, they must agree. None means that the value is in doubt. A call alone without output returned None.
    """
    output = _output_below(rest)
    arrow = _ARROW.match(rest)
    if arrow is None:
        is_alone = not rest.partition("\n")[0].strip()
        if not is_alone:
            return None
        return normal_literal(output) if output else "None"
    value = _line_value(rest[arrow.end() :])
    is_comparison = arrow["sign"] == "==" and not arrow["comment"]
    agreeing_output = "True" if is_comparison else value
    return value if not output or normal_literal(output) == agreeing_output else None


def _output_below(rest: str) -> str:
    """Return the lines below the first one, up to a blank line or the next ``>>>``."""
    output: list[str] = []
    for line in rest.split("\n")[1:]:
        if not line.strip() or line.lstrip().startswith(">>>"):
            break
        output.append(line)
    return "\n".join(output)


def _line_value(rest: str) -> str | None:
    """Return the literal that the first line of ``rest`` begins with, or None. A comment or a remark in brackets may follow it.

    Of a calculation, such as ``1 + 2 = 3``, the result counts.
    """
    line = rest.partition("\n")[0].rstrip()
    calculation = _CALCULATION.match(line)
    if calculation:
        line = line[calculation.end() :]
    for end in range(len(line), 0, -1):
        remark = _AFTER_VALUE.match(line, end)
        value = normal_literal(line[:end]) if remark and not line[:end].endswith(".") else None
        if value is not None:
            return value
    return None


def normal_literal(text: str) -> str | None:
    """Return the normal form of the Python literal ``text``, or None if it is no literal."""
    text = _BOOLEANS.get(text.strip(), text.strip())
    try:
        node = parse_expression(text)
        ast.literal_eval(node)
    except (SyntaxError, ValueError, TypeError):
        return None
    return ast.unparse(node)
