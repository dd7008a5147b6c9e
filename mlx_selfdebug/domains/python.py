"""Define the Python domain: an answer is a function or a class, and asserts that call it decide whether it is right.

A reply starts with an opening fence, which the prompt ends with, and it ends at the closing fence. No tokens are spent on prose.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.prompted import Prompted, plain_statements, shown_checks, tested_text
from mlx_selfdebug.domains.python_prelude import prelude
from mlx_selfdebug.domains.python_tidy import tidy
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_TOKEN = re.compile(
    r"""
      \#[^\n]*                                                    # a comment, which ``tokens`` drops
    | [a-zA-Z]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3})   # a string that may span lines
    | [a-zA-Z]{0,2}(?:"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')   # any other string, with its prefix
    | [^\W\d]\w* | \.?\d(?:[eE][+-]|[\w.])*                    # a name, a number
    | \n[ \t]*(?=[^\s#])                                        # the end of a line and the next line's indentation
    | ->|\.{3} | (?:\*\*|//|<<|>>|[-+*/%@&|^=!<>:])=?            # an operator
    | [^\s#]                                                   # any other character, such as a bracket
    """,
    re.VERBOSE | re.DOTALL,
)
"""Matches a lexical token of Python, in code that may not parse. ``tokenize`` takes thirty times as long."""
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""The fields of syntax trees that hold statements."""


class PythonDomain(Prompted):
    """The Python domain. The domains of data frames and of projects are built on it."""

    name = "python"
    fence = "python"
    draft = "Write this Python {noun}.\n\n{task}"
    again = "Write the {noun} again so that it passes."

    def asks(self, task: Task) -> tuple[str, str]:
        """Return ``draft`` and ``again`` with the noun for what the task asks for."""
        noun = self.noun(task)
        return self.draft.replace("{noun}", noun), self.again.replace("{noun}", noun)

    def noun(self, task: Task) -> str:
        """Return the word for what the task asks for: "function" or "class"."""
        return "class" if f"class {task.entry_point}" in task.starter_code else "function"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """Return the starter code, the statement, and the public checks unless the statement shows calls of the entry point.

        The statement is not put into the code as a docstring. The model would repeat it then, at 2.5 times the tokens.
        """
        parts = [f"```python\n{task.starter_code.strip() or task.entry_point}\n```", task.statement.strip()]
        shown = shown_checks(task.public) if public_checks else ""
        has_examples = f"{task.entry_point}(" in task.statement
        if shown and not has_examples:
            parts.append(shown)
        return "\n\n".join(parts)

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        return tested_text(replace(failure, input=self.input_text(failure, task)), verdict)

    def input_text(self, failure: Failure, task: Task) -> str:
        """Return the arguments of the tested call. If the check prepares the call, return those statements and the call instead."""
        return _prepared_call(failure, task) or failure.input

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the program in ``text`` (see python_tidy.py), ending with one newline."""
        tidied = tidy(text, task)
        return Tidied(tidied.code.strip("\n") + "\n", tidied.steps)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Test ``code`` in one module with the prelude and the task's ``data``, which is other source of the function's module."""
        before = "\n".join(part for part in (task.data, prelude(code, task)) if part)
        return runner.submit(code, checks, task.entry_point, prelude=before)

    def nothing(self, task: Task) -> str:
        return f"def {task.entry_point}(*args, **kwargs):\n    return None\n"

    def normalise(self, code: str) -> str:
        """Return the syntax tree as text, without docstrings, or ``code`` itself if it does not parse or has no such text."""
        tree = parse(code)
        if tree is None:
            return code.strip()
        try:
            tree.body = _drop_docstrings(tree.body)
            return ast.dump(tree)
        except (ValueError, RecursionError):
            # A number has more than 4,300 digits, which Python does not write, or the tree is nested too deeply.
            return code.strip()

    def tokens(self, code: str) -> Sequence[str]:
        return [token for token in _TOKEN.findall(code) if not token.startswith("#")]


def _prepared_call(failure: Failure, task: Task) -> str:
    """Return the tested expression after the statements that prepare it, such as ``s = Stack(); s.push(1); s.pop()``.

    These are the statements between the failed assert and the assert before it. Without any, the result is an empty string.
    """
    for checks in (task.public, task.hidden):
        preparing: list[str] = []
        for node in plain_statements(checks):
            if not isinstance(node, ast.Assert):
                preparing.append(ast.unparse(node))
                continue
            if preparing and ast.unparse(node) == failure.check:
                tested = node.test.left if isinstance(node.test, ast.Compare) else node.test
                return "; ".join([*preparing, ast.unparse(tested)])
            preparing = []
    return ""


def _drop_docstrings(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Return ``statements`` without their docstring, and drop the docstrings of the functions and classes in them in place."""
    for node in _nested(statements):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = _without_docstring(node.body) or [ast.Pass()]
    return _without_docstring(statements) or [ast.Pass()]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    return body[1:] if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else body


def _nested(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements and all statements inside them. Expressions are not visited, since they hold no docstring."""
    for node in statements:
        yield node
        for name in _BLOCKS:
            yield from _nested(getattr(node, name, ()))
