"""Make a task of a function of a project, so that a model can read the function or write it anew.

A task has a statement, and a function in a project has none. Its docstring and the failing tests stand in for it.
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
"""The largest number of failing test functions in the statement. The model reads them with every function, which takes time."""
MAX_STATEMENTS = 4
"""The largest number of statements that are shown of a test: the one that failed, and those just before it."""
MAX_DESCRIPTION = 400
"""The largest number of characters that are shown of a docstring, from its beginning."""
MAX_FACTS = 4
"""The largest number of failing tests whose facts are kept for prompts."""


def task_of(function: Function, tests: str) -> Task:
    """Return the task of writing ``function``. ``tests`` is the text of tests that it has to pass, or empty (``shown_tests``)."""
    description = function.description[:MAX_DESCRIPTION]
    example = f"It is tested like this:\n\n```python\n{tests}\n```" if tests else ""
    return Task(
        id=function.id,
        domain="python",
        statement="\n\n".join(part for part in (example, description) if part),
        entry_point=function.entry_point,
        starter_code=function.signature,
        source="project",
    )


def shown_tests(tests: Sequence[TestResult], root: Path) -> str:
    """Return the source of the first failing tests, each up to the statement that failed.

    ``root`` is the folder of the project, as the tests see it.
    """
    return source_of_tests(tests, root, max_tests=MAX_TESTS, max_statements=MAX_STATEMENTS)


def verdict_of(tests: Sequence[TestResult], function: Function, root: Path) -> Verdict:
    """Return a failed verdict on ``function`` that holds the facts of the first failing tests, for prompts that show them.

    ``root`` is the folder of the project, as the tests see it.
    """
    failures = tuple(failure_of(test, Span.of(function), root) for test in tests[:MAX_FACTS] if test.facts)
    return Verdict("failed", failures, n_checks=len(tests))
