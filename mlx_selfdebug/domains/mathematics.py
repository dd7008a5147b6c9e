"""Define the mathematics domain: a problem is answered in free text, and the final answer in it is compared exactly with a key.

A problem has a single key, so its public and hidden checks are the same. The model is told that its answer was wrong, how the
answer was read and what form is expected, but never the key.

An evaluation compares several ways to go on after a wrong answer, which are called arms. Here every arm stops at its first right
answer because the key says that it is right. So the results of an arm only mean something beside those of the arm ``blind``, which
draws fresh answers and stops in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.inside import source_of
from mlx_selfdebug.domains.inside.plain_number import numbers
from mlx_selfdebug.domains.prompted import NO_VALUE, Prompted, error_text, got_text
from mlx_selfdebug.domains.tidying import plain_text
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Failure, Verdict

_TOKEN = re.compile(r"\\?\w+|[^\w\s]")
"""Matches a word, a number, a command of LaTeX, or one other character."""


class MathDomain(Prompted):
    """The mathematics domain. An answer, which other methods call ``code``, is a whole reply in prose."""

    name = "math"
    draft = "{task}\n\nReason step by step in a few short lines, and end with the final answer in \\boxed{{}}."
    again = "Solve it again from the beginning. End with the final answer in \\boxed{}."
    tested = "This reply was checked:\n\n{code}\n\n{facts}"
    hidden = "A reply to it was checked.\n\n{facts}"
    packages: tuple[str, ...] = ("math_verify", "latex2sympy2_extended", "sympy", "mpmath", "antlr4")
    install = "pip install 'mlx-selfdebug[math]'"

    def task_text(self, task: Task, *, public_checks: bool) -> str:  # noqa: ARG002
        return task.statement.strip()

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        """Return what is wrong with the final answer, as a sentence in the words of ``inside/math_program.py``."""
        if failure.error:
            return f"The reply cannot be read: {error_text(failure)}"
        if not failure.got:
            return f"The reply cannot be read: {NO_VALUE.get(verdict.outcome, verdict.outcome)}."
        text = got_text(failure)
        return text[:1].upper() + text[1:] + "."

    def extract(self, text: str, task: Task) -> Tidied:  # noqa: ARG002
        return plain_text(text)

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:  # noqa: ARG002
        return runner.submit(f"{source_of('math_program')}\nTEXT = {code!r}\n", checks, "answer")

    def nothing(self, task: Task) -> str:  # noqa: ARG002
        return "I do not know.\n"

    def normalise(self, code: str) -> str:
        return " ".join(code.split())

    def tokens(self, code: str) -> Sequence[str]:
        return _TOKEN.findall(code)


def key_checks(key: str) -> Checks:
    """Return checks that the final answer equals ``key``, which may be LaTeX, a number or words."""
    return Checks.from_asserts([f"assert candidate({key.strip()!r}, {form_of(key)!r}) == ''"])


def form_of(key: str) -> str:
    """Return the form of ``key`` in words that do not reveal the key, such as "a whole number"."""
    if values := numbers(key):
        return "a whole number" if all(value.denominator == 1 for value in values) else "a number"
    return "a word" if re.fullmatch(r"[A-Za-z]+", key.strip()) else "an expression"
