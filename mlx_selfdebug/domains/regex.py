"""The regex domain: an answer is one pattern for Python's ``re`` module.

A check lists all matches of the pattern in a text, whole and from left to right: ``assert find("a1 b2") == ["1", "2"]``. Blanks
at the ends of a pattern are part of it. A pattern may also be written as a string, as a call of Python's ``re`` module, or between
slashes with flags.

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
from mlx_selfdebug.parsing import literal, parse_quietly
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_BLOCK = re.compile(r"^([ \t]*)```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_LITERAL = re.compile(r"r?(?:'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")")
_SLASHES = re.compile(r"/((?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+)/([gimsux]+)")
_CALLS = {f"re.{name}" for name in ("compile", "findall", "finditer", "search", "match", "fullmatch", "sub", "split")}
_LONG_NAMES = {"a": "ASCII", "i": "IGNORECASE", "m": "MULTILINE", "s": "DOTALL", "x": "VERBOSE"}
_FLAGS = {name: letter for letter, long in _LONG_NAMES.items() for name in (letter.upper(), long)}
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?[:=!<]*|\{[\d,]*\}|.", re.DOTALL)


class RegexDomain(Prompted):
    name = "regex"
    fence = "regex"
    draft = "Write one regular expression for Python's re module. All its matches, whole, are what is found.\n\n{task}"
    again = "Write the regular expression again so that it passes."
    tested = "This regular expression was tested:\n\n{code}\n\n{facts}"
    hidden = "A regular expression for it was tested.\n\n{facts}"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        return "\n\n".join(
            [task.statement.strip(), *([shown_checks(task.public)] if public_checks and task.public else [])]
        )

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        return tested_text(failure, verdict)

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        """Return the pattern. If it is written as a string, a call or between slashes, what that means is returned."""
        answer = without_thoughts_and_markers(text)
        block = _BLOCK.search(answer.code)
        if block and block[2].strip("\n"):
            pattern, steps = block[2].replace(f"\n{block[1]}", "\n").removeprefix(block[1]), (*answer.steps, "fence")
        else:
            pattern, steps = answer.code.split("\n```")[0].removesuffix("```"), answer.steps
        pattern = _without_blank_lines(pattern)
        for step, meaning in (("literal", _of_literal), ("call", _of_call), ("slashes", _of_slashes)):
            meant = meaning(pattern.strip())
            if meant is not None:
                return Tidied(f"{meant}\n", (*steps, step))
        return Tidied(f"{pattern}\n", steps)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        return runner.submit(
            f"{source_of('regex_program')}\nPATTERN = {self.normalise(code)!r}\n", checks, task.entry_point
        )

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "(?!)\n"

    def normalise(self, code: str) -> str:
        return code.removesuffix("\n")

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(self.normalise(code))


def _without_blank_lines(text: str) -> str:
    """Return ``text`` without blank lines at its beginning and end. If there is but one line, it stays, and so do its blanks."""
    lines = text.replace("\r\n", "\n").split("\n")
    full = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[full[0] : full[-1] + 1]) if full else max(lines, key=len)


def _of_literal(text: str) -> str | None:
    """Return the value of a string literal, or None for another text."""
    try:
        return str(literal(text)) if _LITERAL.fullmatch(text) else None
    except (ValueError, SyntaxError):
        return None


def _of_call(text: str) -> str | None:
    """Return the pattern in statements like ``p = re.compile(r"..", re.I)``, with its flags in it, or None for another text."""
    try:
        tree = parse_quietly(text)
    except (SyntaxError, ValueError):
        return None
    named = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in _CALLS]
    first = min((call for call in calls if call.args), key=lambda call: (call.lineno, call.col_offset), default=None)
    if not first and len(tree.body) > 1:
        return None
    given = first.args[0] if first else next(iter(named.values()), None)
    pattern = named.get(given.id) if isinstance(given, ast.Name) else given
    if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
        return None
    others = [*first.args[1:], *(keyword.value for keyword in first.keywords)] if first else []
    names = {node.attr for other in others for node in ast.walk(other) if isinstance(node, ast.Attribute)}
    return _with_flags("".join(sorted({_FLAGS[name] for name in names & _FLAGS.keys()})), pattern.value)


def _of_slashes(text: str) -> str | None:
    """Return the pattern of ``/../gi`` as other languages write it, or None for another text.

    Without flags, slashes are part of the pattern. The flag g says what is done here anyway, and u too.
    """
    match = _SLASHES.fullmatch(text)
    return _with_flags("".join(sorted(set(match[2]) - set("gu"))), match[1].replace("\\/", "/")) if match else None


def _with_flags(flags: str, pattern: str) -> str:
    return f"(?{flags}){pattern}" if flags else pattern
