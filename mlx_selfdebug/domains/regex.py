"""Define the regex domain: an answer is one pattern for Python's ``re`` module.

A check lists all matches of the pattern in a text, from left to right and without regard to groups:
``assert find("a1 b2") == ["1", "2"]``. Blanks at the ends of a pattern belong to it. A pattern may also be written as a string, as
a call of Python's ``re`` module, or between slashes with flags.

>>> RegexDomain().extract("re.compile(r'[a-z]+', re.I)", Task("t", "regex", "", "find")).code
'(?i)[a-z]+\\n'
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from concurrent.futures import Future

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.prompted import Prompted, shown_checks, tested_text
from mlx_selfdebug.domains.tidying import without_thoughts_and_markers
from mlx_selfdebug.parsing import literal, parse
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_BLOCK = re.compile(r"^([ \t]*)```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
"""Matches a fenced block with its indentation and its content. The last block may lack its closing fence."""
_LITERAL = re.compile(r"r?(?:'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")")
"""Matches a string literal of Python on one line."""
_SLASHES = re.compile(r"/((?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+)/([gimsux]+)")
"""Matches a pattern between slashes and its flags. A slash within a class, as in ``[/]``, does not end the pattern."""
_CALLS = {f"re.{name}" for name in ("compile", "findall", "finditer", "search", "match", "fullmatch", "sub", "split")}
"""The functions of ``re`` whose first argument is a pattern."""
_LONG_NAMES = {"a": "ASCII", "i": "IGNORECASE", "m": "MULTILINE", "s": "DOTALL", "x": "VERBOSE"}
_FLAGS = {name: letter for letter, long in _LONG_NAMES.items() for name in (letter.upper(), long)}
"""The letters that stand for flags in a pattern, as in ``(?i)``, by the names of the flags in ``re``."""
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?[:=!<]*|\{[\d,]*\}|.", re.DOTALL)
"""Matches an escape, a class of characters, the beginning of a special group, a count, or one other character."""


class RegexDomain(Prompted):
    """The regex domain."""

    name = "regex"
    fence = "regex"
    draft = "Write one regular expression for Python's re module. All its matches, whole, are what is found.\n\n{task}"
    again = "Write the regular expression again so that it passes."
    tested = "This regular expression was tested:\n\n{code}\n\n{facts}"
    hidden = "A regular expression for it was tested.\n\n{facts}"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        parts = [task.statement.strip()]
        if public_checks and task.public:
            parts.append(shown_checks(task.public))
        return "\n\n".join(parts)

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        return tested_text(failure, verdict)

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        """Return the pattern. If it is written as a string literal, as a call or between slashes, return what that stands for."""
        answer = without_thoughts_and_markers(text)
        block = _BLOCK.search(answer.code)
        if block and block[2].strip("\n"):
            indentation, content = block.groups()
            written = content.replace(f"\n{indentation}", "\n").removeprefix(indentation)
            steps: tuple[str, ...] = (*answer.steps, "fence")
        else:
            written, steps = answer.code.split("\n```")[0].removesuffix("```"), answer.steps
        written = _without_blank_lines(written)
        for step, read in (
            ("literal", _pattern_of_literal),
            ("call", _pattern_of_call),
            ("slashes", _pattern_of_slashes),
        ):
            pattern = read(written.strip())
            if pattern is not None:
                return Tidied(f"{pattern}\n", (*steps, step))
        return Tidied(f"{written}\n", steps)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        return runner.submit(
            f"{source_of('regex_program')}\nPATTERN = {self.normalise(code)!r}\n", checks, task.entry_point
        )

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "(?!)\n"  # matches nowhere

    def normalise(self, code: str) -> str:
        return code.removesuffix("\n")

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(self.normalise(code))


def _without_blank_lines(text: str) -> str:
    """Return ``text`` without blank lines at its beginning and end, or the longest line if all are blank.

    A pattern may consist of blanks alone.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    not_blank = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[not_blank[0] : not_blank[-1] + 1]) if not_blank else max(lines, key=len)


def _pattern_of_literal(text: str) -> str | None:
    """Return the value of a string literal, or None if ``text`` is something else."""
    try:
        return str(literal(text)) if _LITERAL.fullmatch(text) else None
    except (ValueError, SyntaxError):
        return None


def _pattern_of_call(text: str) -> str | None:
    """Return the pattern in statements such as ``p = re.compile(r"..", re.I)``, with its flags written into it.

    The first call of a function of ``re`` counts. Its pattern may be a name to which a string was assigned. Without a call, the
    pattern may be a single assignment of a string. Returns None if ``text`` is something else.
    """
    tree = parse(text)
    if tree is None:
        return None
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    call = _first_call(tree)
    if call:
        argument: ast.expr | None = call.args[0]
        flags = _flags_in([*call.args[1:], *(keyword.value for keyword in call.keywords)])
    elif len(tree.body) == 1:
        argument, flags = next(iter(assigned.values()), None), set()
    else:
        return None
    pattern = assigned.get(argument.id) if isinstance(argument, ast.Name) else argument
    if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
        return None
    return _with_flags(flags, pattern.value)


def _first_call(tree: ast.Module) -> ast.Call | None:
    """Return the first call of a function of ``re`` that has a pattern, in the order of the source, or None."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in _CALLS]
    return min((call for call in calls if call.args), key=lambda call: (call.lineno, call.col_offset), default=None)


def _flags_in(arguments: Sequence[ast.expr]) -> set[str]:
    """Return the letters of the flags that arguments name, as in ``re.I | re.MULTILINE``."""
    names = {node.attr for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Attribute)}
    return {_FLAGS[name] for name in names & _FLAGS.keys()}


def _pattern_of_slashes(text: str) -> str | None:
    """Return the pattern of ``/../gi``, as other languages write it, or None if ``text`` is something else.

    Slashes without flags are a part of the pattern. The flags g and u are dropped, since all matches are found in Unicode anyway.
    """
    match = _SLASHES.fullmatch(text)
    return _with_flags(set(match[2]) - {"g", "u"}, match[1].replace("\\/", "/")) if match else None


def _with_flags(flags: set[str], pattern: str) -> str:
    """Return ``pattern`` with ``flags``, given as letters, written at its beginning: ``(?im)a+``."""
    return f"(?{''.join(sorted(flags))}){pattern}" if flags else pattern
