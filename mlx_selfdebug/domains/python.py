"""The Python domain: the prompts for functions and classes, the code in an answer, and how it is tested.

The model's reply is started with an opening fence and ends at the closing one, so that no tokens are spent on prose.
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

DO_NOTHING = "def {entry_point}(*args, **kwargs):\n    return None\n"

_TOKEN = re.compile(
    r"""
      \#[^\n]*                                                    # a comment, left out later
    | [a-zA-Z]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3})   # a string of several lines
    | [a-zA-Z]{0,2}(?:"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')   # a string
    | [^\W\d]\w* | \.?\d(?:[eE][+-]|[\w.])*                    # a name, a number
    | \n[ \t]*(?=[^\s#])                                        # a line's beginning, with its indentation
    | ->|\.{3} | (?:\*\*|//|<<|>>|[-+*/%@&|^=!<>:])=?            # operators
    | [^\s#]
    """,
    re.VERBOSE | re.DOTALL,
)
"""Matches the lexical tokens of Python, also in code that does not parse. ``tokenize`` takes thirty times as long."""


class PythonDomain(Prompted):
    name = "python"
    fence = "python"
    draft = "Write this Python function.\n\n{task}"
    again = "Write the function again so that it passes."

    def asks(self, task: Task) -> tuple[str, str]:
        if f"class {task.entry_point}" not in task.starter_code:
            return self.draft, self.again
        return self.draft.replace("function", "class", 1), self.again.replace("function", "class", 1)

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """Return the starter code, then the statement.

        The statement is not put into the code as a docstring, since the model would repeat it at 2.5 times the tokens.
        """
        parts = [f"```python\n{task.starter_code.strip() or task.entry_point}\n```", task.statement.strip()]
        shown = shown_checks(task.public) if public_checks else ""
        if shown and not _has_examples(task):
            parts.append(shown)
        return "\n\n".join(parts)

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        return tested_text(replace(failure, input=self.given(failure, task)), verdict)

    def given(self, failure: Failure, task: Task) -> str:
        """Return the input of the tested function as text."""
        return _session(failure, task) or failure.input

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the program in ``text`` (see python_tidy.py). It always ends with exactly one newline."""
        tidied = tidy(text, task)
        return Tidied(tidied.code.strip("\n") + "\n", tidied.steps)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Test ``code`` inside the module that surrounds the function, which is the task's ``data``."""
        before = "\n".join(part for part in (task.data, prelude(code, task)) if part)
        return runner.submit(code, checks, task.entry_point, prelude=before)

    def nothing(self, task: Task) -> str:
        return DO_NOTHING.format(entry_point=task.entry_point)

    def normalise(self, code: str) -> str:
        tree = parse(code)
        if tree is None:
            return code.strip()
        tree.body = _drop_docstrings(tree.body)
        return ast.dump(tree)

    def tokens(self, code: str) -> Sequence[str]:
        return [token for token in _TOKEN.findall(code) if not token.startswith("#")]


def _has_examples(task: Task) -> bool:
    return f"{task.entry_point}(" in task.statement


def _session(failure: Failure, task: Task) -> str:
    """Return the statements that lead up to the failed check, such as the creation of an object and calls of its methods.

    The result is empty if the check needs no statements before it.
    """
    for checks in (task.public, task.hidden):
        before: list[str] = []
        for node in plain_statements(checks):
            if isinstance(node, ast.Assert):
                if before and ast.unparse(node) == failure.check:
                    test = node.test.left if isinstance(node.test, ast.Compare) else node.test
                    return "; ".join([*before, ast.unparse(test)])
                before = []
            else:
                before.append(ast.unparse(node))
    return ""


def _drop_docstrings(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Return ``statements`` without their docstring. Functions and classes inside them are changed in place."""
    for node in _nested(statements):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = _without_docstring(node.body) or [ast.Pass()]
    return _without_docstring(statements) or [ast.Pass()]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    return body[1:] if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else body


def _nested(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements and all statements inside them. Expressions are skipped: none of them can hold a docstring."""
    for node in statements:
        yield node
        for name in _BLOCKS:
            yield from _nested(getattr(node, name, ()))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
