"""Take the program out of a model's answer, and name each step that was taken on the way.

Code that parses and defines the entry point is not changed by a single byte. Otherwise the least tidying that gives such code is
done. If nothing gives such code, only thoughts, fences and chat markers are removed, so that a broken program is judged as the
broken program it is. Nothing is written for the model: a step cuts, shifts or joins what is there. The only line that is ever added
is the signature that the task gave.

This is the complete list of steps:

- ``thoughts``   what the model thinks aloud, as in ``<think>...</think>``, is dropped: a draft in it is no answer (see tidying.py)
- ``markers``    the answer is cut at the first marker of a chat template, such as ``<|im_end|>``, which may be cut off itself
- ``unicode``    typographic quotes, odd spaces, byte order marks and CRLF outside of strings are replaced, if it then parses
- ``fence``      of several fenced blocks, the first that defines the entry point is taken; it may be unclosed
- ``dedent``     indentation that all lines share is removed
- ``prose``      sentences before and after the code are dropped
- ``bare_body``  a function body without its ``def`` line is put under the starter code's signature
- ``truncated``  an answer that breaks off loses its last top-level statement, but never a part of the entry point
- ``imports``    the code is left alone, and standard imports or helpers that it lacks run before it (see python_prelude.py)

Some things are *not* done. Tests, prints and main guards after the function stay, since they are part of a program that runs. A
program that fails its own assert while it loads does fail. A function of another name, a method in a class and a half-written entry
point stay wrong.

    >>> task = Task("t", "python", "", "f", "def f(x):")
    >>> tidy("    return x * x\\n", task)
    Tidied(code='def f(x):\\n    return x * x\\n', steps=('bare_body',))
"""

from __future__ import annotations

import ast
import re
import textwrap
from codeop import compile_command
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, get_args

from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.domains.python_prelude import lacks
from mlx_selfdebug.domains.python_prose import is_prose, without_prose_statements
from mlx_selfdebug.domains.python_source import defines, function_named, same_scope
from mlx_selfdebug.domains.python_unicode import plain
from mlx_selfdebug.domains.tidying import without_thoughts_and_markers
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.task import Task

Step = Literal["thoughts", "markers", "unicode", "fence", "dedent", "prose", "bare_body", "truncated", "imports"]
STEPS: tuple[Step, ...] = get_args(Step)

MAX_CHARS = 30_000
"""Longer answers are judged as they are, without thoughts. No answer of a small model comes near this length."""
MAX_PARSED_CHARS = 1_000_000
"""The number of characters that one pass may parse, so that no answer takes longer than about half a second."""
MAX_FENCES = 12
MAX_PLACES = 40
"""The number of places where code may begin or end that are tried in one segment."""

_FENCE = re.compile(r"[ \t]*(?:```+|~~~+)[^`]*$")
_CLOSED_IN_LINE = re.compile(r"(?<=[^\s`~])[ \t]*(?:```+|~~~+)[ \t]*$", re.MULTILINE)
_CODE_START = re.compile(r"(?:async\s+def|def|class|from|import)\s|@\w")

Candidate = tuple[str, tuple[Step, ...]]
"""Code, and the steps that led to it."""


def tidy(text: str, task: Task) -> Tidied:
    """Return the code in ``text`` and the steps that took it out, in the order of ``STEPS``.

    Never raises. Tidying code that was tidied already changes nothing.
    """
    code, steps = text, set[str]()
    while True:
        tidier, taken = _pass(code, task)
        if tidier == code:
            break
        steps.update(taken)
        code = tidier
    if lacks(code, task):
        steps.add("imports")
    return Tidied(code, tuple(step for step in STEPS if step in steps))


def _pass(text: str, task: Task) -> tuple[str, tuple[str, ...]]:
    good = _Judge(task.entry_point)
    if good(text):
        return text, ()
    # Thoughts are dropped before the length counts, since they may be many times as long as the answer.
    answer = without_thoughts_and_markers(text)
    kept, spoken = answer.code, answer.steps
    if len(kept) > MAX_CHARS:
        return kept, spoken
    for version, unicode in _versions(kept):
        segments = list(_segments(version))
        for mend in _MENDS:
            for segment in segments:
                candidate = mend(segment, task, good)
                if candidate:
                    code, steps = candidate
                    fence: tuple[Step, ...] = ("fence",) if segment != version else ()
                    return code, (*spoken, *unicode, *fence, *steps)
    whole = _likeliest(kept, task.entry_point)
    return whole, (*spoken, "fence") if whole != kept else spoken


class _Judge:
    """A test of whether code parses and defines the entry point. It answers no once it has read ``MAX_PARSED_CHARS``."""

    def __init__(self, entry_point: str) -> None:
        self._entry_point, self._chars_left = entry_point, MAX_PARSED_CHARS

    def __call__(self, code: str) -> bool:
        if self._entry_point not in code:
            return False
        self._chars_left -= len(code)
        return self._chars_left >= 0 and defines(code, self._entry_point)


def _versions(text: str) -> Iterator[tuple[str, tuple[Step, ...]]]:
    yield text, ()
    plainer = plain(text)
    if plainer != text:
        yield plainer, ("unicode",)


def _segments(text: str) -> Iterator[str]:
    """Yield the texts between two fences, or the whole text if it has no fence.

    Neighbouring fences come first and wider spans after them, since a docstring may hold fences itself. The answer begins inside a
    fence, which the reply's prefix opened, and may end inside one.
    """
    lines = _CLOSED_IN_LINE.sub("\n```", text).split("\n")
    fences = [i for i, line in enumerate(lines) if _FENCE.match(line)]
    if not fences:
        yield text
        return
    edges = [-1, *fences, len(lines)]
    widths = range(1, len(edges) - 1 if len(fences) <= MAX_FENCES else 2)
    for width in widths:
        for start, end in zip(edges, edges[width:], strict=False):
            segment = "\n".join(lines[start + 1 : end])
            yield segment if segment.endswith("\n") else segment + "\n"


def _likeliest(text: str, entry_point: str) -> str:
    """Return the segment to judge when none is good: one with the entry point's ``def``, or else the first that is not blank."""
    if not any(_FENCE.match(line) for line in _CLOSED_IN_LINE.sub("\n```", text).split("\n")):
        return text
    segments = [segment for segment in islice(_segments(text), MAX_FENCES) if segment.strip()]
    named = [segment for segment in segments if f"def {entry_point}" in segment]
    return next(iter([*named, *segments]), text)


def _as_it_is(segment: str, _task: Task, good: _Judge) -> Candidate | None:
    return (segment, ()) if good(segment) else None


def _dedented(segment: str, _task: Task, good: _Judge) -> Candidate | None:
    return next(((code, ("dedent",)) for code in _dedents(segment) if good(code)), None)


def _without_prose(segment: str, _task: Task, good: _Judge) -> Candidate | None:
    return _cut_prose(segment, good)


def _cut_short(segment: str, _task: Task, good: _Judge) -> Candidate | None:
    # Prose may come before the code here as well. _cut_prose does not handle such an answer, because its end is not prose.
    for start, steps in ((segment, ()), *islice(_after_prose(segment), MAX_PLACES)):
        code = _whole_statements(start, good)
        if code:
            return code, (*steps, "truncated")
    return None


def _under_signature(segment: str, task: Task, good: _Judge) -> Candidate | None:
    # Any text that parses could be put under a signature, so only text that returns or yields in its own scope is taken for a body.
    signature = _signature(task)
    if not signature or not segment.strip():
        return None
    for body, steps in ((segment, ()), *islice(_after_prose(segment), MAX_PLACES)):
        for code in _wrapped(signature, body.strip("\n")):
            candidate = (code, ()) if good(code) else _cut_prose(code, good, whole_start=True)
            if candidate and _answers(candidate[0], task.entry_point):
                return candidate[0], (*steps, *candidate[1], "bare_body")
    return None


_MENDS: tuple[Callable[[str, Task, _Judge], Candidate | None], ...] = (
    _as_it_is,
    _dedented,
    _without_prose,
    _cut_short,
    _under_signature,
)


def _dedents(text: str) -> Iterator[str]:
    """Yield the text without the indentation that all lines share, then without that of the lines after the first.

    The second form is for an answer whose first line lost its indentation.
    """
    yield textwrap.dedent(text)
    first, newline, rest = text.lstrip("\n").partition("\n")
    if rest:
        yield first.lstrip() + newline + textwrap.dedent(rest)


def _cut_prose(segment: str, good: _Judge, *, whole_start: bool = False) -> Candidate | None:
    """Return the longest run of lines that is good and has nothing but prose next to it, or None."""
    starts = [(segment, ())] if whole_start else [(segment, ()), *islice(_after_prose(segment), MAX_PLACES)]
    for text, steps in starts:
        for end in islice(_prose_after(text), MAX_PLACES):
            code = text[:end]
            if good(code):
                trimmed = without_prose_statements(code)
                return (trimmed if good(trimmed) else code), (*steps, *(() if "prose" in steps else ("prose",)))
    return None


def _after_prose(text: str) -> Iterator[Candidate]:
    """Yield the rest of the text after each line of prose, the longest first. Indented code is shifted to the left."""
    lines = text.split("\n")
    after_prose = False
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        if after_prose:
            indent = len(line) - len(line.lstrip())
            rest = "\n".join(lines[i:])
            if not indent or not _CODE_START.match(line.lstrip()):
                yield rest, ("prose",)
            else:
                yield _block(lines[i:], indent), ("dedent", "prose")
        after_prose = is_prose(line)


def _block(lines: list[str], indent: int) -> str:
    """Return the lines, those before the first that is indented less than ``indent`` shifted to the left."""
    end = next((i for i, x in enumerate(lines) if x.strip() and len(x) - len(x.lstrip()) < indent), len(lines))
    return "\n".join([*(x[indent:] for x in lines[:end]), *lines[end:]])


def _prose_after(text: str) -> Iterator[int]:
    """Yield where the text may be cut: at its end, then where lines of prose begin, from the last to the first.

    An indented line is no place to cut, since it belongs to the statement above it.
    """
    yield len(text)
    starts, at = list[int](), 0
    for line in text.split("\n"):
        if at and not line[:1].isspace() and is_prose(line):
            starts.append(at)
        at += len(line) + 1
    yield from reversed(starts)


def _whole_statements(text: str, good: _Judge) -> str | None:
    """Return ``text`` without its last top-level statement if the text breaks off in that one and the rest is good."""
    starts = [m.start() for m in re.finditer(r"^(?=[^\s#)\]}])", text, re.MULTILINE)]
    for start in islice(reversed(starts[1:]), MAX_PLACES):
        if good(text[:start]):
            return text[:start] if _breaks_off(text[start:]) else None
    return None


def _breaks_off(statement: str) -> bool:
    """Return whether ``statement`` lacks its end: a bracket or block is left open, or the error is where the text ends."""
    try:
        return compile_command(statement, symbol="exec") is None
    except SyntaxError as error:
        lines = statement.rstrip().split("\n")
        at_end = (error.offset or 0) > len(lines[-1]) or "unterminated" in str(error)
        return (error.lineno or 0) >= len(lines) and at_end
    except (ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _signature(task: Task) -> str:
    """Return the entry point's ``def`` line or lines as the starter code writes them, or an empty string if it has none."""
    source = task.starter_code.rstrip() + "\n"
    for text in (source, source + "    pass\n"):
        tree = parse(text)
        function = function_named(tree, task.entry_point) if tree else None
        if function:
            first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
            lines, body = text.split("\n"), function.body[0]
            if body.lineno == function.lineno:
                return "\n".join(
                    [*lines[first - 1 : body.lineno - 1], lines[body.lineno - 1][: body.col_offset].rstrip()]
                )
            return "\n".join(lines[first - 1 : body.lineno - 1]).rstrip()
    return ""


def _wrapped(signature: str, body: str) -> Iterator[str]:
    if body[:1].isspace():
        yield f"{signature}\n{body}\n"
    yield signature + "\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
    first, _, rest = body.partition("\n")
    yield signature + "\n" + textwrap.indent(first.lstrip() + "\n" + textwrap.dedent(rest), "    ") + "\n"


def _answers(code: str, entry_point: str) -> bool:
    tree = parse(code)
    function = function_named(tree, entry_point) if tree else None
    return function is not None and any(
        isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in same_scope(function.body)
    )
