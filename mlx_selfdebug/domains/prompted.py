"""Write the prompts that most domains share.

The prompt for a draft is the request alone. The prompt for a repair is the same request, followed by the code that was tested and
the facts of its tests. It begins with the prompt for the draft, byte for byte, so that the model computes the shared beginning only
once. A domain chooses the words and says how a task and a failure are written. The model is never told anything else.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.parsing import literal, parse_quietly
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.feedback import EVERYTHING, MAX_FACTS, Feedback
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

REPAIR = "{draft}\n\n{feedback}\n\n{again}"
"""The form of a repair prompt."""
BARE_FACTS = "A test failed."
"""What a repair prompt says if the facts are kept from the model."""
KEEP_FACTS = "All tests passed."
"""What a prompt says of an attempt that passed. A keep pair teaches the model to return such code as it is."""
NO_VALUE: Mapping[str, str] = {
    "timeout_wall": "no answer in time",
    "timeout_cpu": "no answer in time",
    "memory": "out of memory",
    "crashed": "the interpreter crashed",
    "early_exit": "the program ended itself",
    "output_limit": "too much output",
}
"""What a prompt says of an outcome that left no value to show."""


class Prompted(ABC):
    """The base class of a domain that uses the shared prompts in its own words."""

    name: str
    draft: str
    """The request for a draft. The task takes the place of ``{task}``."""
    again: str
    """The sentence at the end of a repair prompt that asks for another answer."""
    tested = "This code was tested:\n\n{code}\n\n{facts}"
    """How an attempt is presented together with its code."""
    hidden = "Code for it was tested.\n\n{facts}"
    """How an attempt is presented when its code is kept from the model."""
    fence = ""
    """The language of the fenced block that holds an answer. If it is empty, answers are plain text."""
    packages: tuple[str, ...] = ()
    """The packages that the tests of this domain import."""
    install = ""
    """The command that installs ``packages``."""

    def require_installed(self) -> None:
        """Raise UsageError if one of ``packages`` is not installed."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            raise UsageError(
                f"tasks of the domain {self.name} need packages that are not installed: {', '.join(missing)}",
                hint=self.install,
            )

    @property
    def reply_prefix(self) -> str:
        """The opening fence, with which a reply begins, or an empty string if answers are plain text."""
        return f"```{self.fence}\n" if self.fence else ""

    @property
    def stop_text(self) -> str:
        """The closing fence, which ends a completion, or an empty string if answers are plain text."""
        return "\n```" if self.fence else ""

    def asks(self, task: Task) -> tuple[str, str]:  # noqa: ARG002
        """Return ``draft`` and ``again`` for this task. A subclass may choose other words for some of its tasks."""
        return self.draft, self.again

    @abstractmethod
    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """Return the text that takes the place of ``{task}`` in ``draft``, with or without the public checks."""

    @abstractmethod
    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        """Return one failed check as text. The same arguments must give the same text every time."""

    def prompt(self, task: Task, *, feedback: Feedback = EVERYTHING) -> str:
        return self.asks(task)[0].format(task=self.task_text(task, public_checks=feedback.public_checks))

    def repair_prompt(
        self,
        task: Task,
        attempt: Attempt,
        *,
        max_facts: int = MAX_FACTS,
        feedback: Feedback = EVERYTHING,
        facts_of: Attempt | None = None,
    ) -> str:
        facts = self.facts(facts_of or attempt, task, max_facts) if feedback.facts else BARE_FACTS
        shown = self.tested if feedback.code else self.hidden
        attempt_text = shown.format(code=self._block(attempt.code), facts=facts)
        return REPAIR.format(
            draft=self.prompt(task, feedback=feedback), feedback=attempt_text, again=self.asks(task)[1]
        )

    def completion(self, code: str) -> str:
        return code.strip("\n") + self.stop_text

    def facts(self, attempt: Attempt, task: Task, limit: int) -> str:
        """Return the facts of the public checks if one of them failed, or else of the hidden checks, or else that all passed."""
        if attempt.public.passed and attempt.verdict.passed:
            return KEEP_FACTS
        return self.facts_text(attempt.verdict if attempt.public.passed else attempt.public, task, limit)

    def facts_text(self, verdict: Verdict, task: Task, limit: int) -> str:
        """Return the first ``limit`` failed checks as text, or the outcome if the verdict holds no failed check."""
        if not verdict.failures:
            return f"Test failed: {NO_VALUE.get(verdict.outcome, verdict.outcome)}"
        return "\n\n".join(self.failure_text(failure, verdict, task) for failure in verdict.failures[:limit])

    def _block(self, code: str) -> str:
        code = code.strip("\n")
        return f"```{self.fence}\n{code}\n```" if self.fence else code


def error_text(failure: Failure) -> str:
    """Return the error as ``ValueError: message``, as ``ValueError`` if it has no message, or as "" if there is no error."""
    error = failure.error
    return f"{error.type}: {error.message}".rstrip(": ") if error else ""


def got_text(failure: Failure) -> str:
    """Return the string that a failed check got, without its quotes.

    This is for checks such as ``difference(...) == ""``, whose value says in words what is wrong.
    """
    try:
        return str(literal(failure.got))
    except (ValueError, SyntaxError):
        return failure.got.strip("'\"")  # Cutting a long literal to its maximum length may have broken an escape.


def tested_text(failure: Failure, verdict: Verdict) -> str:
    """Return a failed check of a function as text: its input, what was expected, and what came instead."""
    return failed_check_text(failure, got_line(failure, verdict))


def got_line(failure: Failure, verdict: Verdict) -> str:
    """Return the line that says which value came, or why there is none."""
    return f"Got: {failure.got or NO_VALUE.get(verdict.outcome, 'nothing')}"


def failed_check_text(failure: Failure, result: str, *, heading: str = "Test failed:") -> str:
    """Return a failed check of a function as text, one fact per line.

    The last line is ``result``, or the error if the function raised one.
    """
    lines = [heading]
    if failure.input:
        lines.append(f"Input: {failure.input}")
    if failure.expected:
        lines.append(f"Expected: {failure.expected}")
    if failure.error:
        where = f" in line `{failure.error.source.strip()}`" if failure.error.source.strip() else ""
        lines.append(f"Error: {error_text(failure)}{where}")
    else:
        lines.append(result)
    return "\n".join(lines)


def shown_checks(checks: Checks) -> str:
    """Return the text that shows ``checks`` in a prompt, one statement per line.

    If the checks consist of plain statements, all of them are shown. Otherwise, only their asserts are.
    """
    nodes = plain_statements(checks) or [n for n in ast.walk(parse_quietly(checks.source)) if isinstance(n, ast.Assert)]
    return "\n".join(ast.unparse(node) for node in nodes)


def rewritten(checks: Checks, transformer: ast.NodeTransformer, setup: str) -> Checks:
    """Return ``checks`` with their source changed by ``transformer``, and with ``setup`` put before their own setup."""
    if not checks:
        return checks
    tree = ast.fix_missing_locations(transformer.visit(parse_quietly(checks.source)))
    return replace(checks, source=ast.unparse(tree) + "\n", setup=f"{setup}\n{checks.setup}")


def plain_statements(checks: Checks) -> Sequence[ast.stmt]:
    """Return the statements of ``check`` if all of them are asserts, assignments or expressions, and otherwise an empty list."""
    check = parse_quietly(checks.source).body[0] if checks and checks.kind == "call" else None
    body = check.body if isinstance(check, ast.FunctionDef) else []
    return body if all(isinstance(node, ast.Assert | ast.Assign | ast.Expr) for node in body) else []
