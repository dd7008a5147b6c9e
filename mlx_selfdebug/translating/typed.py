"""Read a task as a person types it: a statement in words, then examples.

An example is a piece of an interactive session with its output below, a call and its value (``f(2) == 4``), or an assert. The forms
may be mixed, and an example may take several lines. All other lines are the statement.

    >>> typed = read_typed("Return twice x.\\ndouble(2) == 4\\n\\nassert double(0) == 0")
    >>> typed.statement
    'Return twice x.'
    >>> [(example.line, example.statements) for example in typed.examples]
    [(2, ('assert double(2) == 4',)), (4, ('assert double(0) == 0',))]
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.parsing import parse_expression, parse_quietly
from mlx_selfdebug.translating.doctests import doctest_statements
from mlx_selfdebug.translating.examples import docstring_asserts

FORMS_HINT = "an example is f(2) == 4, or assert f(2) == 4, or >>> f(2) with its output on the next line"
"""How examples can be written, as the hint of an error."""
_SESSION = re.compile(r"[ \t]*>>>")
_NO_SPACE = re.compile(r"^([ \t]*(?:>>>|\.\.\.))(?=\S)", re.MULTILINE)
"""Matches the prompt of a session without the space behind it, which doctest insists on."""
_ASSERT = re.compile(r"assert\b(?=[ (])")
_COMPARED_CALL = re.compile(r"[^\W\d]\w*\(.*\)[ \t]*(?:==|!=|<=|>=)")
"""Matches a call that is compared. A line that begins with one is meant as an example even if it does not parse."""
_CALL_WITH_ARROW = re.compile(r"([^\W\d]\w*)\(.*\)[ \t]*(?:==>|=>|->|➞|returns\b)")
"""Matches a call and an arrow, as in ``double(2) -> 4``. The group is the name of the function."""
_UNFINISHED = ("was never closed", "unexpected EOF", "unterminated triple-quoted")
"""Parts of Python's error messages about source that more lines may complete."""


@dataclass(frozen=True)
class Example:
    """An example as statements of checks. A whole session counts as one example."""

    line: int
    """The number of its first line in the text, from 1."""
    statements: tuple[str, ...]
    """The source of each statement, such as ``assert double(2) == 4``."""


@dataclass(frozen=True)
class Typed:
    """A task as it was typed."""

    statement: str
    """The lines that are no examples."""
    examples: tuple[Example, ...]


def read_typed(text: str) -> Typed:
    """Return the statement and the examples in ``text``.

    Raises TaskError with every line that is meant as an example and cannot be read.
    """
    lines = text.splitlines()
    words, examples, problems = list[str](), list[Example](), list[str]()
    i = 0
    while i < len(lines):
        n_lines = _example_length(lines[i:])
        if not n_lines:
            words.append(lines[i])
            i += 1
            continue
        try:
            examples.append(Example(i + 1, tuple(_statements(lines[i : i + n_lines]))))
        except ValueError as error:
            problems.append(f"line {i + 1}: {error}")
        i += n_lines
    if problems:
        raise TaskError("not every example can be read", problems=problems, hint=FORMS_HINT)
    return Typed("\n".join(words).strip("\n"), tuple(examples))


def has_example(text: str) -> bool:
    """Return whether a line of ``text`` is an example, or is meant as one and cannot be read."""
    lines = text.splitlines()
    return any(_example_length(lines[i:]) for i in range(len(lines)))


def _example_length(lines: Sequence[str]) -> int:
    """Return the number of lines of the example with which ``lines`` begin, or 0 if the first line begins no example."""
    first = lines[0].strip()
    if _SESSION.match(first):
        return next((n for n, line in enumerate(lines) if n and _ends_session(line)), len(lines))
    if _arrow_asserts(first):
        return 1
    is_meant_as_example = bool(_ASSERT.match(first) or _COMPARED_CALL.match(first))
    may_be_call = first.partition("(")[0].isidentifier()
    if not is_meant_as_example and not may_be_call and not _is_example(first):
        return 0
    n_lines = _complete_length(lines)
    if is_meant_as_example:
        return n_lines or 1  # An example that does not parse counts as one line, to which the error then refers.
    return n_lines if _is_example(_joined(lines[:n_lines])) else 0


def _ends_session(line: str) -> bool:
    """Return whether the session above ``line`` is over: the line is blank, or begins an example of another form."""
    text = line.strip()
    return not text or bool(_ASSERT.match(text) or _COMPARED_CALL.match(text))


def _arrow_asserts(text: str) -> list[str]:
    """Return the assert of a line such as ``f(2) -> 4``, whose arguments and value are literals. Any other line has none."""
    arrow = _CALL_WITH_ARROW.match(text)
    return docstring_asserts(text, arrow[1], ()) if arrow and not _COMPARED_CALL.match(text) else []


def _is_example(text: str) -> bool:
    """Return whether ``text`` reads as an example: a condition that calls something, or a call with values."""
    try:
        node = parse_expression(text)
    except (SyntaxError, ValueError):
        return False
    if isinstance(node, ast.Call):
        # ``double(x)`` alone is a signature and no example. ``double(2)`` alone is an example that lacks its value: an error.
        arguments = node.args or [keyword.value for keyword in node.keywords]
        return any(not isinstance(argument, ast.Name | ast.Starred) for argument in arguments)
    is_condition = isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp)
    return is_condition and any(isinstance(part, ast.Call) for part in ast.walk(node))


def _complete_length(lines: Sequence[str]) -> int:
    """Return the smallest number of lines that parse together, or 0 if no number of lines does.

    A line is added only as long as the lines so far are unfinished, for example by an open bracket.
    """
    for n_lines in range(1, len(lines) + 1):
        try:
            parse_quietly(_joined(lines[:n_lines]))
        except (SyntaxError, ValueError) as error:
            if not any(words in str(error) for words in _UNFINISHED):
                return 0
        else:
            return n_lines
    return 0


def _joined(lines: Sequence[str]) -> str:
    """Return the lines as one text, without the indentation that all of them share."""
    return textwrap.dedent("\n".join(lines)).strip()


def _statements(lines: Sequence[str]) -> list[str]:
    """Return the statements of one example. Raises ValueError, whose message names the example, if it cannot be read."""
    text = _joined(lines)
    if _SESSION.match(text):
        return doctest_statements(_NO_SPACE.sub(r"\1 ", text))
    if asserts := _arrow_asserts(text):
        return asserts
    try:
        body = parse_quietly(text).body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"{lines[0].strip()} does not parse ({reason})") from error
    node = body[0]
    if len(body) > 1 or not isinstance(node, ast.Assert | ast.Expr):
        raise ValueError(f"{lines[0].strip()} is more than one example")
    if isinstance(node, ast.Assert):
        return [ast.unparse(node)]
    if isinstance(node.value, ast.Call):
        raise ValueError(f"{text} has no value; write {text} == VALUE")
    return [f"assert {ast.unparse(node.value)}"]
