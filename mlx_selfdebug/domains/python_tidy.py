"""Take the program out of a model's answer, and name each step that this takes.

Code is *good* if it parses and defines the entry point. Good code is not changed by a single byte. For any other answer, the least
tidying that gives good code is done. If no tidying does, only thoughts, fences and special tokens are removed, and the broken
program is judged as it is. Nothing is written for the model: a step cuts, shifts or joins what the answer holds. The only line that
is ever added is the signature from the task's starter code.

This is the complete list of steps:

- ``thoughts``   what the model thinks aloud, as in ``<think>...</think>``, is dropped: a draft in it is no answer (see tidying.py)
- ``markers``    the answer is cut at the first special token, such as ``<|im_end|>``, which may itself be cut off
- ``unicode``    typographic quotes, odd spaces, byte order marks and CRLF outside of strings are replaced, if that gives good code
- ``fence``      of several fenced blocks, the first that gives good code is taken; its closing fence may be missing
- ``dedent``     indentation that all lines share is removed
- ``prose``      sentences before and after the code are dropped
- ``bare_body``  a function body without its ``def`` line is put under the signature from the starter code
- ``truncated``  an answer that breaks off loses its last top-level statement, but never a part of the entry point
- ``imports``    the code is left alone; imports and helpers that it uses but does not define run before it (see python_prelude.py)

Some things are *not* done. Tests, prints and main guards after the function stay, since they are part of a program that runs. A
program that fails its own assert while it loads does fail. A function with another name, a method in a class and a half-written
entry point stay wrong.

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
from mlx_selfdebug.domains.python_prelude import needs_prelude
from mlx_selfdebug.domains.python_prose import is_prose, without_prose_statements
from mlx_selfdebug.domains.python_source import defines, function_named, same_scope
from mlx_selfdebug.domains.python_unicode import plain
from mlx_selfdebug.domains.tidying import without_thoughts_and_markers
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.task import Task

Step = Literal["thoughts", "markers", "unicode", "fence", "dedent", "prose", "bare_body", "truncated", "imports"]
STEPS: tuple[Step, ...] = get_args(Step)

MAX_CHARS = 30_000
"""The maximum length of an answer that is tidied, which no small model comes near. A longer one only loses thoughts and markers."""
MAX_PARSED_CHARS = 1_000_000
"""The maximum number of characters that one pass parses, so that no answer takes longer than about half a second."""
MAX_FENCES = 12
"""The maximum number of fences in an answer for which segments that span several fences are tried."""
MAX_PLACES = 40
"""The maximum number of places in a segment where code is taken to begin, and of places where it is taken to end."""

_FENCE = re.compile(r"[ \t]*(?:```+|~~~+)[^`]*$")
"""Matches a line that is a fence, perhaps with the name of a language."""
_FENCE_AFTER_CODE = re.compile(r"(?<=[^\s`~])[ \t]*(?:```+|~~~+)[ \t]*$", re.MULTILINE)
"""Matches a closing fence at the end of a line of code, instead of on a line of its own."""
_CODE_START = re.compile(r"(?:async\s+def|def|class|from|import)\s|@\w")
"""Matches the beginning of a line with which a program may begin."""

_Candidate = tuple[str, tuple[Step, ...]]
"""Code, and the steps that led to it."""


def tidy(text: str, task: Task) -> Tidied:
    """Return the code in ``text`` and the steps that took it out, in the order of ``STEPS``. Never raises.

    Passes are made until one changes nothing, so tidying the result again changes nothing either.
    """
    code, steps = text, set[str]()
    while True:
        tidier, pass_steps = _pass(code, task)
        if tidier == code:
            break
        steps.update(pass_steps)
        code = tidier
    if needs_prelude(code, task):
        steps.add("imports")
    return Tidied(code, tuple(step for step in STEPS if step in steps))


def _pass(text: str, task: Task) -> tuple[str, tuple[str, ...]]:
    """Return the code in ``text`` after one pass of tidying, and the steps that it took."""
    is_good = _Judge(task.entry_point)
    if is_good(text):
        return text, ()
    # Thoughts are dropped before the length counts, since they may be many times as long as the answer.
    answer = without_thoughts_and_markers(text)
    if len(answer.code) > MAX_CHARS:
        return answer.code, answer.steps
    for version, version_steps in _versions(answer.code):
        segments = list(_segments(version))
        for mend in _MENDS:
            for segment in segments:
                candidate = mend(segment, task, is_good)
                if candidate:
                    code, steps = candidate
                    fence: tuple[Step, ...] = ("fence",) if segment != version else ()
                    return code, (*answer.steps, *version_steps, *fence, *steps)
    broken = _likeliest_segment(answer.code, task.entry_point)
    return broken, (*answer.steps, "fence") if broken != answer.code else answer.steps


class _Judge:
    """Decides whether code is good. Once it has parsed ``MAX_PARSED_CHARS`` characters, it takes no code for good any more."""

    def __init__(self, entry_point: str) -> None:
        self._entry_point, self._chars_left = entry_point, MAX_PARSED_CHARS

    def __call__(self, code: str) -> bool:
        if self._entry_point not in code:
            return False
        self._chars_left -= len(code)
        return self._chars_left >= 0 and defines(code, self._entry_point)


def _versions(text: str) -> Iterator[_Candidate]:
    """Yield the text as it is, then with plain quotes and spaces if that changes it."""
    yield text, ()
    plainer = plain(text)
    if plainer != text:
        yield plainer, ("unicode",)


def _segments(text: str) -> Iterator[str]:
    """Yield the texts between two fences, or the whole text if it has no fence.

    Segments between neighbouring fences come first. Wider ones follow, since a docstring may hold fences itself. The beginning and
    the end of the answer count as fences: the reply's prefix has opened one, and the last one may not be closed.
    """
    lines = _FENCE_AFTER_CODE.sub("\n```", text).split("\n")
    fences = [i for i, line in enumerate(lines) if _FENCE.match(line)]
    if not fences:
        yield text
        return
    edges = [-1, *fences, len(lines)]
    max_width = len(edges) - 2 if len(fences) <= MAX_FENCES else 1
    for width in range(1, max_width + 1):
        for start, end in zip(edges, edges[width:], strict=False):
            segment = "\n".join(lines[start + 1 : end])
            yield segment if segment.endswith("\n") else segment + "\n"


def _likeliest_segment(text: str, entry_point: str) -> str:
    """Return the segment to judge if none gives good code: the first with the entry point's ``def``, or the first not blank."""
    if not any(_FENCE.match(line) for line in _FENCE_AFTER_CODE.sub("\n```", text).split("\n")):
        return text
    segments = [segment for segment in islice(_segments(text), MAX_FENCES) if segment.strip()]
    with_def = [segment for segment in segments if f"def {entry_point}" in segment]
    return next(iter([*with_def, *segments]), text)


# The mends follow, in the order of _MENDS, in which they are tried. Each returns good code that is made from a segment, or None.


def _as_it_is(segment: str, _task: Task, is_good: _Judge) -> _Candidate | None:
    return (segment, ()) if is_good(segment) else None


def _dedented(segment: str, _task: Task, is_good: _Judge) -> _Candidate | None:
    return next(((code, ("dedent",)) for code in _dedents(segment) if is_good(code)), None)


def _without_prose(segment: str, _task: Task, is_good: _Judge) -> _Candidate | None:
    return _cut_prose(segment, is_good)


def _without_broken_end(segment: str, _task: Task, is_good: _Judge) -> _Candidate | None:
    # Prose may come before such code too. _without_prose does not find the code, because it ends with a broken statement.
    for rest, steps in ((segment, ()), *islice(_rests_after_prose(segment), MAX_PLACES)):
        code = _without_last_statement(rest, is_good)
        if code:
            return code, (*steps, "truncated")
    return None


def _under_signature(segment: str, task: Task, is_good: _Judge) -> _Candidate | None:
    # Any text that parses could be put under a signature, so only text that returns or yields in its own scope is taken for a body.
    signature = _signature(task)
    if not signature or not segment.strip():
        return None
    for body, steps in ((segment, ()), *islice(_rests_after_prose(segment), MAX_PLACES)):
        for code in _wrapped(signature, body.strip("\n")):
            candidate = (code, ()) if is_good(code) else _cut_prose(code, is_good, begins_with_code=True)
            if candidate and _returns_or_yields(candidate[0], task.entry_point):
                return candidate[0], (*steps, *candidate[1], "bare_body")
    return None


_MENDS: tuple[Callable[[str, Task, _Judge], _Candidate | None], ...] = (
    _as_it_is,
    _dedented,
    _without_prose,
    _without_broken_end,
    _under_signature,
)


def _dedents(text: str) -> Iterator[str]:
    """Yield the text without the indentation that all lines share, then without the indentation that all lines but the first share.

    The second form is for an answer whose first line has lost its indentation.
    """
    yield textwrap.dedent(text)
    first, newline, rest = text.lstrip("\n").partition("\n")
    if rest:
        yield first.lstrip() + newline + textwrap.dedent(rest)


def _cut_prose(segment: str, is_good: _Judge, *, begins_with_code: bool = False) -> _Candidate | None:
    """Return the longest run of lines that is good code and has only prose before and after it, or None.

    With ``begins_with_code``, the run is at the beginning of the segment.
    """
    starts: list[_Candidate] = [(segment, ())]
    if not begins_with_code:
        starts += islice(_rests_after_prose(segment), MAX_PLACES)
    for text, steps in starts:
        for end in islice(_ends_before_prose(text), MAX_PLACES):
            code = text[:end]
            if is_good(code):
                trimmed = without_prose_statements(code)
                all_steps: tuple[Step, ...] = steps if "prose" in steps else (*steps, "prose")
                return (trimmed if is_good(trimmed) else code), all_steps
    return None


def _rests_after_prose(text: str) -> Iterator[_Candidate]:
    """Yield the rest of the text after each line of prose, the longest rest first. Indented code is shifted to the left."""
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
                yield _shifted(lines[i:], indent), ("dedent", "prose")
        after_prose = is_prose(line)


def _shifted(lines: list[str], indent: int) -> str:
    """Return the lines as text, with those before the first that is indented by less than ``indent`` shifted to the left."""
    indented_less = (i for i, line in enumerate(lines) if line.strip() and len(line) - len(line.lstrip()) < indent)
    end = next(indented_less, len(lines))
    return "\n".join([*(line[indent:] for line in lines[:end]), *lines[end:]])


def _ends_before_prose(text: str) -> Iterator[int]:
    """Yield the indices where code may end: the end of the text, then the beginnings of lines of prose, the last first.

    Code does not end before an indented line, since that belongs to the statement above it.
    """
    yield len(text)
    starts, index = list[int](), 0
    for line in text.split("\n"):
        if index and not line[:1].isspace() and is_prose(line):
            starts.append(index)
        index += len(line) + 1
    yield from reversed(starts)


def _without_last_statement(text: str, is_good: _Judge) -> str | None:
    """Return ``text`` without its last top-level statement if that one breaks off and the rest is good, or else None."""
    # A statement begins with a line that is not indented, is no comment and does not close a bracket.
    starts = [m.start() for m in re.finditer(r"^(?=[^\s#)\]}])", text, re.MULTILINE)]
    for start in islice(reversed(starts[1:]), MAX_PLACES):
        if is_good(text[:start]):
            return text[:start] if _breaks_off(text[start:]) else None
    return None


def _breaks_off(statement: str) -> bool:
    """Return whether ``statement`` is unfinished: a bracket or block is left open, or the syntax error is at its very end."""
    try:
        return compile_command(statement, symbol="exec") is None
    except SyntaxError as error:
        lines = statement.rstrip().split("\n")
        # For a string that is cut off, Python reports the place where the string begins.
        at_end = (error.offset or 0) > len(lines[-1]) or "unterminated" in str(error)
        return (error.lineno or 0) >= len(lines) and at_end
    except (ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _signature(task: Task) -> str:
    """Return the entry point's decorators and ``def`` as the starter code writes them, or an empty string if it has no ``def``."""
    source = task.starter_code.rstrip() + "\n"
    # The second text is for starter code that ends with a bare def line.
    for text in (source, source + "    pass\n"):
        tree = parse(text)
        function = function_named(tree, task.entry_point) if tree else None
        if function:
            first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
            lines, body = text.split("\n"), function.body[0]
            # In ``def f(x): ...``, the body begins on the last line of the signature. ``ast`` counts columns in bytes.
            before_body = lines[body.lineno - 1].encode()[: body.col_offset].decode()
            return "\n".join([*lines[first - 1 : body.lineno - 1], before_body]).rstrip()
    return ""


def _wrapped(signature: str, body: str) -> Iterator[str]:
    """Yield ``body`` under ``signature``: as it is if it is indented, then indented anew in the two ways of ``_dedents``."""
    if body[:1].isspace():
        yield f"{signature}\n{body}\n"
    yield signature + "\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
    first, _, rest = body.partition("\n")
    yield signature + "\n" + textwrap.indent(first.lstrip() + "\n" + textwrap.dedent(rest), "    ") + "\n"


def _returns_or_yields(code: str, entry_point: str) -> bool:
    """Return whether the entry point returns or yields something in its own scope."""
    tree = parse(code)
    function = function_named(tree, entry_point) if tree else None
    return function is not None and any(
        isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) for node in same_scope(function.body)
    )
