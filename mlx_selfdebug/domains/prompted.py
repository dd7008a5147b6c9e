"""The prompts that most domains share: the request; the request again with what was tested and what the tests said.

A domain names its words and says what a task and a failure look like. The repair's message begins with the draft's, byte for byte,
so that what both share is computed once. Nothing else is ever said to the model.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks, parse_quietly
from mlx_selfdebug.values.feedback import EVERYTHING, Feedback
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

REPAIR = "{draft}\n\n{feedback}\n\n{again}"
BARE_FACTS = "A test failed."
KEEP_FACTS = "All tests passed."
NO_VALUE: Mapping[str, str] = {
    "timeout_wall": "no answer in time",
    "timeout_cpu": "no answer in time",
    "memory": "out of memory",
    "crashed": "the interpreter crashed",
    "early_exit": "the program ended itself",
    "output_limit": "too much output",
}
"""What is said of an outcome that has no value to show."""


class Prompted(ABC):
    """``draft`` and ``again`` ask; ``tested`` and ``hidden`` tell of an attempt with and without its ``code``; ``fence`` is the
    language of a fenced block, or empty for an answer that is no block. ``packages`` are those its tests import.
    """

    draft: str
    again: str
    tested = "This code was tested:\n\n{code}\n\n{facts}"
    hidden = "Code for it was tested.\n\n{facts}"
    fence = ""
    packages: tuple[str, ...] = ()
    install = ""

    @property
    def reply_prefix(self) -> str:
        return f"```{self.fence}\n" if self.fence else ""

    @property
    def stop_text(self) -> str:
        return "\n```" if self.fence else ""

    def asks(self, task: Task) -> tuple[str, str]:  # noqa: ARG002
        """``draft`` and ``again`` for this task."""
        return self.draft, self.again

    @abstractmethod
    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """What is said of the task itself."""

    @abstractmethod
    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        """One failed check, stable byte for byte."""

    def prompt(self, task: Task, *, feedback: Feedback = EVERYTHING) -> str:
        return self.asks(task)[0].format(task=self.task_text(task, public_checks=feedback.public_checks))

    def repair_prompt(
        self,
        task: Task,
        attempt: Attempt,
        *,
        max_facts: int = 3,
        feedback: Feedback = EVERYTHING,
        facts_of: Attempt | None = None,
    ) -> str:
        facts = self.facts(facts_of or attempt, task, max_facts) if feedback.facts else BARE_FACTS
        shown = self.tested if feedback.code else self.hidden
        said = shown.format(code=self._block(attempt.code), facts=facts)
        return REPAIR.format(draft=self.prompt(task, feedback=feedback), feedback=said, again=self.asks(task)[1])

    def completion(self, code: str) -> str:
        return code.strip("\n") + self.stop_text

    def facts(self, attempt: Attempt, task: Task, limit: int) -> str:
        """What the tests said: of the public checks where one failed, else of the hidden ones."""
        if attempt.public.passed and attempt.verdict.passed:
            return KEEP_FACTS
        return self.facts_text(attempt.public if not attempt.public.passed else attempt.verdict, task, limit)

    def facts_text(self, verdict: Verdict, task: Task, limit: int) -> str:
        """One to ``limit`` failed checks as text."""
        if not verdict.failures:
            return f"Test failed: {NO_VALUE.get(verdict.outcome, verdict.outcome)}"
        return "\n\n".join(self.failure_text(failure, verdict, task) for failure in verdict.failures[:limit])

    def _block(self, code: str) -> str:
        code = code.strip("\n")
        return f"```{self.fence}\n{code}\n```" if self.fence else code


def error_text(failure: Failure) -> str:
    """``ValueError: message``, without the type's name for what is none of Python's."""
    error = failure.error
    return f"{error.type}: {error.message}".rstrip(": ") if error else ""


def said(failure: Failure) -> str:
    """What a check that compares texts got, as it stands: ``assert difference(candidate(), expected) == "none"``."""
    try:
        return str(ast.literal_eval(failure.got))
    except (ValueError, SyntaxError):
        return failure.got.strip("'\"")


def tested_text(failure: Failure, verdict: Verdict) -> str:
    """A failed check of a function: input, expected, and what came instead."""
    lines = ["Test failed:"]
    if failure.input:
        lines.append(f"Input: {failure.input}")
    if failure.expected:
        lines.append(f"Expected: {failure.expected}")
    if failure.error:
        where = f" in line `{failure.error.source.strip()}`" if failure.error.source.strip() else ""
        lines.append(f"Error: {error_text(failure)}{where}")
    else:
        lines.append(f"Got: {failure.got or NO_VALUE.get(verdict.outcome, 'nothing')}")
    return "\n".join(lines)


def shown_checks(checks: Checks) -> str:
    """The asserts as they stand, one a line, with the statements they need where all are plain ones."""
    nodes = plain_statements(checks) or [n for n in ast.walk(parse_quietly(checks.source)) if isinstance(n, ast.Assert)]
    return "\n".join(ast.unparse(node) for node in nodes)


def plain_statements(checks: Checks) -> Sequence[ast.stmt]:
    """Those of ``check``, where all are asserts, assignments and calls."""
    check = parse_quietly(checks.source).body[0] if checks and checks.kind == "call" else None
    body = check.body if isinstance(check, ast.FunctionDef) else []
    return body if all(isinstance(node, ast.Assert | ast.Assign | ast.Expr) for node in body) else []
