"""Python functions: the prompts, the code in an answer, and how it is tested.

The reply is begun for the model with an opening fence and ends at the closing one, so no tokens go into prose.
The prompts are the templates below; nothing else is ever said to the model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from mlx_selfdebug.domains.base import Tidied
from mlx_selfdebug.domains.python_prelude import prelude
from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.domains.python_tidy import tidy
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.feedback import EVERYTHING, Feedback
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.sandbox.verdict import Failure, Verdict
from mlx_selfdebug.tasks.checks import Checks
from mlx_selfdebug.tasks.task import Task

DRAFT = """\
Write this Python function.

{task}"""

REPAIR = """\
{draft}

{feedback}

Write the function again so that it passes."""

TESTED_CODE = """\
This code was tested:

```python
{code}
```

{facts}"""

HIDDEN_CODE = """\
Code for it was tested.

{facts}"""

BARE_FACTS = "A test failed."

KEEP_FACTS = "All tests passed."

_NO_VALUE = {
    "timeout_wall": "no answer in time",
    "timeout_cpu": "no answer in time",
    "memory": "out of memory",
    "crashed": "the interpreter crashed",
    "early_exit": "the program ended itself",
    "output_limit": "too much output",
}


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
"""Lexical tokens of Python, also of code that is none; ``tokenize`` takes thirty times as long."""


class PythonDomain:
    name = "python"
    reply_prefix = "```python\n"
    stop_text = "\n```"

    def prompt(self, task: Task, *, feedback: Feedback = EVERYTHING) -> str:
        return DRAFT.format(task=_task_text(task, public_checks=feedback.public_checks))

    def repair_prompt(
        self,
        task: Task,
        attempt: Attempt,
        *,
        max_facts: int = 3,
        feedback: Feedback = EVERYTHING,
        facts_of: Attempt | None = None,
    ) -> str:
        facts = attempt_facts(facts_of or attempt, max_facts) if feedback.facts else BARE_FACTS
        shown = TESTED_CODE if feedback.code else HIDDEN_CODE
        said = shown.format(code=attempt.code.strip("\n"), facts=facts)
        return REPAIR.format(draft=self.prompt(task, feedback=feedback), feedback=said)

    def extract(self, text: str, task: Task) -> Tidied:
        """The program in ``text`` (see python_tidy.py), ended by one newline whatever the completion ended with."""
        tidied = tidy(text, task)
        return Tidied(tidied.code.strip("\n") + "\n", tidied.steps)

    def completion(self, code: str) -> str:
        return code.strip("\n") + self.stop_text

    def judge(self, code: str, task: Task, checks: Checks, runner: TestRunner) -> Future[Verdict]:
        return runner.submit(code, checks, task.entry_point, prelude=prelude(code, task))

    def normalise(self, code: str) -> str:
        tree = parse(code)
        if tree is None:
            return code.strip()
        tree.body = _drop_docstrings(tree.body)
        return ast.dump(tree)

    def tokens(self, code: str) -> Sequence[str]:
        return [token for token in _TOKEN.findall(code) if not token.startswith("#")]


def attempt_facts(attempt: Attempt, limit: int) -> str:
    """What the tests said: of the public checks where one failed, else of the hidden ones."""
    if attempt.public.passed and attempt.verdict.passed:
        return KEEP_FACTS
    return facts_text(attempt.public if not attempt.public.passed else attempt.verdict, limit)


def facts_text(verdict: Verdict, limit: int) -> str:
    """One to ``limit`` failed checks as text: input, expected, got or error. Stable byte for byte."""
    if not verdict.failures:
        return f"Test failed: {_NO_VALUE.get(verdict.outcome, verdict.outcome)}"
    return "\n\n".join(_fact(failure, verdict) for failure in verdict.failures[:limit])


def _fact(failure: Failure, verdict: Verdict) -> str:
    lines = ["Test failed:"]
    if failure.input:
        lines.append(f"Input: {failure.input}")
    if failure.expected:
        lines.append(f"Expected: {failure.expected}")
    if failure.error:
        error = failure.error
        where = f" in line `{error.source.strip()}`" if error.source.strip() else ""
        lines.append(f"Error: {error.type}: {error.message}{where}".rstrip(": "))
    elif failure.got:
        lines.append(f"Got: {failure.got}")
    else:
        lines.append(f"Got: {_NO_VALUE.get(verdict.outcome, 'nothing')}")
    return "\n".join(lines)


def _task_text(task: Task, *, public_checks: bool = True) -> str:
    """Starter code, then the statement: a docstring inside the code would be said again, at 2.5 times the tokens."""
    parts = [f"```python\n{task.starter_code.strip() or task.entry_point}\n```", task.statement.strip()]
    shown = _shown_checks(task.public) if public_checks else ""
    if shown and not _has_examples(task):
        parts.append(shown)
    return "\n\n".join(parts)


def _has_examples(task: Task) -> bool:
    return f"{task.entry_point}(" in task.statement


def _shown_checks(checks: Checks) -> str:
    """The asserts of ``check`` as they stand, one a line."""
    if not checks:
        return ""
    asserts = [node for node in ast.walk(ast.parse(checks.source)) if isinstance(node, ast.Assert)]
    return "\n".join(ast.unparse(node) for node in asserts)


def _drop_docstrings(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The body of a module, function or class without its docstring; those inside it are changed."""
    for node in _nested(statements):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = _without_docstring(node.body) or [ast.Pass()]
    return _without_docstring(statements) or [ast.Pass()]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    return body[1:] if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else body


def _nested(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Statements and all inside them; expressions hold none but a lambda's, which has no docstring."""
    for node in statements:
        yield node
        for name in _BLOCKS:
            yield from _nested(getattr(node, name, ()))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
