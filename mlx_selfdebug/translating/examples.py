"""Turn the examples in a docstring into asserts.

The forms that are read are ``>>> f(2)`` with its output, ``f(2) == 4``, ``f(2) ➞ 4``, ``f(2) returns 4``,
``For x = 2 the output should be 4``, and ``Input: x = 2`` with ``Output: 4``.

Only a call of the function with literal arguments and a literal expected value counts, and anything in doubt is left out. Whether
an example is right is not known here. Docstrings contain mistakes, so the caller must compare each example with a reference.

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

_ARROW = re.compile(r"[ \t]*(?:#[ \t]*)?(?:==>|=>|==|->|➞|=|returns\b|should return\b)[ \t]*")
_PROMPTED = re.compile(r">>>[ \t]*$")
_SENTENCE = re.compile(
    r"\bFor (?P<args>.+?),?\s+(?:the (?P<aside>[^=\n]*?))?the (?:output|result) should be ", re.IGNORECASE
)
_LABELS = re.compile(r"\bInput:(?P<args>.*?)\bOutput:[ \t]*", re.DOTALL)
_SUM = re.compile(r"[\d\s+*/()-]+ = (?=-?\d+\s*$)")
_AFTER_VALUE = re.compile(r"[ \t]*\.?[ \t]*(?:[#(].*)?$")
_BOOLEANS = {"true": "True", "false": "False"}


def docstring_asserts(text: str, entry_point: str, parameters: Sequence[str], alias: str = "") -> list[str]:
    """Return the examples of ``text`` in order, each once. ``alias`` is another name that the text uses for ``entry_point``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prose that is parsed as code may hold invalid escapes and the like
        examples = [*_calls(text, alias or entry_point), *_labelled(text, parameters)]
    asserts = [f"assert {entry_point}({arguments}) == {value}" for _, arguments, value in sorted(examples)]
    return list(dict.fromkeys(asserts))


def _calls(text: str, name: str) -> Iterator[tuple[int, str, str]]:
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\(", text):
        end = _closing(text, match.end() - 1)
        arguments = _arguments(text[match.end() : end - 1]) if end else None
        if arguments is None:
            continue
        prompted = _PROMPTED.search(text, 0, match.start()) is not None
        value = _value_after(text[end:], prompted)
        if value is not None:
            yield match.start(), ", ".join(arguments.values()), value


def _labelled(text: str, parameters: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    for match in [*_SENTENCE.finditer(text), *_LABELS.finditer(text)]:
        arguments = _arguments(match["args"].strip())
        value = _line_value(text[match.end() :])
        if arguments is None or value is None or list(arguments) not in ([*parameters], [*range(len(parameters))]):
            continue
        yield match.start(), ", ".join(arguments.values()), value


def _closing(text: str, start: int) -> int | None:
    """Return the index after the bracket that closes the one at ``start``, or None if no bracket completes a valid call."""
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


def _value_after(rest: str, prompted: bool) -> str | None:
    """Return the value that the text gives for a call: after an arrow on its line, or as the output below a ``>>>`` line."""
    arrow = _ARROW.match(rest)
    if arrow:
        return _line_value(rest[arrow.end() :])
    return _printed_value(rest) if prompted else None


def _line_value(rest: str) -> str | None:
    """Return the literal that the line begins with. Only a comment or a remark in brackets may follow. ``1 + 2 = 3`` means 3."""
    line = rest.partition("\n")[0].rstrip()
    total = _SUM.match(line)
    if total:
        line = line[total.end() :]
    for end in range(len(line), 0, -1):
        remark = _AFTER_VALUE.match(line, end)
        value = literal(line[:end]) if remark and not line[:end].endswith(".") else None
        if value is not None:
            return value
    return None


def _printed_value(rest: str) -> str | None:
    """Return the output of a doctest: the lines up to a blank one or the next ``>>>``. No output means that None was returned."""
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
