"""Turn the examples in a docstring into asserts.

The forms that are read are ``>>> f(2)`` with its output, ``f(2) == 4``, ``f(2) ➞ 4``, ``f(2) returns 4``,
``For x = 2 the output should be 4``, and ``Input: x = 2`` with ``Output: 4``.

Only a call of the function with literal arguments and a literal expected value counts. Anything in doubt is left out. Docstrings
contain mistakes, so the caller must compare each example with a reference.

    >>> docstring_asserts("f(2) -> 4, f(x) -> x * x", "f", ("x",))
    []
    >>> docstring_asserts("f(2) -> 4", "f", ("x",))
    ['assert f(2) == 4']
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from mlx_selfdebug.parsing import literal as literal_value
from mlx_selfdebug.parsing import parse_expression, parse_quietly

# What may stand between a call and its value on one line.
_ARROW = re.compile(r"[ \t]*(?:#[ \t]*)?(?:==>|=>|==|->|➞|=|returns\b|should return\b)[ \t]*")
_SESSION_PROMPT = re.compile(r">>>[ \t]*$")
# For x = 2 the output should be 4
_SENTENCE = re.compile(
    r"\bFor (?P<args>.+?),?\s+(?:the (?P<aside>[^=\n]*?))?the (?:output|result) should be ", re.IGNORECASE
)
# Input: x = 2 Output: 4
_LABELS = re.compile(r"\bInput:(?P<args>.*?)\bOutput:[ \t]*", re.DOTALL)
# The calculation before a value, as in: 1 + 2 = 3
_SUM = re.compile(r"[\d\s+*/()-]+ = (?=-?\d+\s*$)")
# What may follow a value on its line: a full stop, and a comment or a remark in brackets.
_AFTER_VALUE = re.compile(r"[ \t]*\.?[ \t]*(?:[#(].*)?$")
_BOOLEANS = {"true": "True", "false": "False"}

_Example = tuple[int, str, str]
"""The index of an example in the text, the arguments of the call as they are written in one, and the expected value."""


def docstring_asserts(text: str, entry_point: str, parameters: Sequence[str], alias: str = "") -> list[str]:
    """Return the examples in ``text`` as asserts in their order, each once.

    ``parameters`` are the names of the function's parameters. ``alias`` is the name that the text uses for the function, if that is
    not ``entry_point``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Prose that is parsed as code may hold invalid escapes and the like.
        examples = [*_calls(text, alias or entry_point), *_labelled(text, parameters)]
    asserts = [f"assert {entry_point}({arguments}) == {value}" for _, arguments, value in sorted(examples)]
    return list(dict.fromkeys(asserts))


def _calls(text: str, name: str) -> Iterator[_Example]:
    """Yield the examples that are written as a call of the function ``name``."""
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\(", text):
        end = _closing(text, match.end() - 1)
        arguments = _arguments(text[match.end() : end - 1]) if end else None
        if arguments is None:
            continue
        in_session = _SESSION_PROMPT.search(text, 0, match.start()) is not None
        value = _value_after(text[end:], in_session)
        if value is not None:
            yield match.start(), ", ".join(arguments.values()), value


def _labelled(text: str, parameters: Sequence[str]) -> Iterator[_Example]:
    """Yield the examples that give the arguments without a call: by name in the order of ``parameters``, or by position."""
    for match in [*_SENTENCE.finditer(text), *_LABELS.finditer(text)]:
        arguments = _arguments(match["args"].strip())
        value = _line_value(text[match.end() :])
        if arguments is None or value is None or list(arguments) not in ([*parameters], [*range(len(parameters))]):
            continue
        yield match.start(), ", ".join(arguments.values()), value


def _closing(text: str, start: int) -> int | None:
    """Return the index after the bracket that closes the one at ``start``, or None if no bracket completes a call that parses."""
    # A call longer than 2,000 characters is no example.
    for end in (match.end() for match in re.finditer(r"\)", text[start : start + 2000])):
        try:
            parse_quietly("f" + text[start : start + end])
        except (SyntaxError, ValueError):
            continue
        return start + end
    return None


def _arguments(text: str) -> dict[str | int, str] | None:
    """Return the literal arguments by name or position, or None if ``text`` holds anything else."""
    try:
        call = parse_expression(f"f({text})")
    except (SyntaxError, ValueError):
        return None
    if not isinstance(call, ast.Call):
        return None
    nodes: dict[str | int, ast.expr] = dict(enumerate(call.args))
    nodes.update({keyword.arg or "": keyword.value for keyword in call.keywords})
    values = {key: literal(ast.unparse(node)) for key, node in nodes.items()}
    literals = {key: value for key, value in values.items() if value is not None}
    return literals if len(literals) == len(values) else None


def _value_after(rest: str, in_session: bool) -> str | None:
    """Return the value that the text gives for a call: after an arrow on the same line, or in a session as the output below."""
    arrow = _ARROW.match(rest)
    if arrow:
        return _line_value(rest[arrow.end() :])
    return _printed_value(rest) if in_session else None


def _line_value(rest: str) -> str | None:
    """Return the literal that the first line of ``rest`` begins with, or None. A comment or a remark in brackets may follow it.

    Of a calculation, such as ``1 + 2 = 3``, the result counts.
    """
    line = rest.partition("\n")[0].rstrip()
    calculation = _SUM.match(line)
    if calculation:
        line = line[calculation.end() :]
    for end in range(len(line), 0, -1):
        remark = _AFTER_VALUE.match(line, end)
        value = literal(line[:end]) if remark and not line[:end].endswith(".") else None
        if value is not None:
            return value
    return None


def _printed_value(rest: str) -> str | None:
    """Return the value in the output of a session: the lines up to a blank one or the next ``>>>``.

    No output means that None was returned. The result is None if the output is no literal.
    """
    first, _, below = rest.partition("\n")
    if first.strip():
        return None
    output = re.split(r"\n\s*\n|\n?[ \t]*>>>", below, maxsplit=1)[0] if below.strip(" \t")[:1] != "\n" else ""
    return literal(output) if output.strip() else "None"


def literal(text: str) -> str | None:
    """Return the normal form of the Python literal ``text``, or None if it is no literal."""
    text = _BOOLEANS.get(text.strip(), text.strip())
    try:
        literal_value(text)
        return ast.unparse(parse_expression(text))
    except (SyntaxError, ValueError, TypeError):
        return None
