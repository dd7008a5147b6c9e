"""Say what a function of a project is meant to do, as the task that a model reads or answers.

A function in a project has no statement. Its signature, its docstring and the tests that fail stand in for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlx_selfdebug.projects.facts import Span, failure_of, source_of_tests
from mlx_selfdebug.projects.source import Function
from mlx_selfdebug.projects.suite_run import TestResult
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

MAX_TESTS = 1
"""The number of failing test functions that are shown. What is shown is read with every function, which takes time."""
MAX_STATEMENTS = 4
"""The number of statements that are shown of a test: the one that failed, and those before it."""
MAX_DESCRIPTION = 400
"""The largest number of characters that are shown of a docstring, from its beginning."""
MAX_FACTS = 4
"""The number of failing tests whose facts are kept for prompts."""


def task_of(function: Function, tests: str) -> Task:
    """Return the task of writing ``function``. ``tests`` is the text of tests that it has to pass (``shown_tests``)."""
    description = function.description[:MAX_DESCRIPTION]
    shown = f"It is tested like this:\n\n```python\n{tests}\n```" if tests else ""
    return Task(
        id=function.id,
        domain="python",
        statement="\n\n".join(part for part in (shown, description) if part),
        entry_point=function.entry_point,
        starter_code=function.signature,
        source="project",
    )


def shown_tests(tests: Sequence[TestResult], root: Path) -> str:
    """Return the sources of the failing tests that are shown, each up to the statement that failed."""
    return source_of_tests(tests, root, max_tests=MAX_TESTS, max_statements=MAX_STATEMENTS)


def verdict_of(tests: Sequence[TestResult], function: Function, root: Path) -> Verdict:
    """Return the facts of failing tests as a verdict on ``function``, for prompts that show them."""
    failures = tuple(failure_of(test, Span.of(function), root) for test in tests[:MAX_FACTS] if test.facts)
    return Verdict("failed", failures, n_checks=len(tests))
