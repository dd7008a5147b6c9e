"""Make a task of a statement and examples as a person types them (``translating/typed.py`` says what is read).

>>> task = typed_task("Return twice x.\\ndouble(2) == 4")
>>> task.entry_point, task.starter_code, task.public.source
('double', 'def double(number):', 'def check(candidate):\\n    assert double(2) == 4\\n')
"""

from __future__ import annotations

from dataclasses import replace

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.translating.subject import subject_of
from mlx_selfdebug.translating.typed import FORMS_HINT, Typed, read_typed
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

SOURCE = "typed"
"""The source of a typed task, with which its id begins as well."""
NO_STATEMENT = "Its name and the examples say what it does."
"""The statement of a task that was typed as examples alone."""


def typed_task(text: str) -> Task:
    """Return the Python task that ``text`` asks for.

    The examples are its public checks and its hidden checks alike, because there are no others. Without examples, it has no checks.
    Raises TaskError if an example cannot be read, if the examples are not about a single function or class, or if there is neither
    a statement nor an example.
    """
    typed = read_typed(text)
    if not typed.examples and not typed.statement.strip():
        raise TaskError("there is no task: neither a statement nor an example was given", hint=FORMS_HINT)
    subject = subject_of(typed)
    checks = Checks.from_asserts(statement for example in typed.examples for statement in example.statements)
    task = Task(
        id=f"{SOURCE}/{subject.name or 'unnamed'}",
        domain="python",
        statement=typed.statement or NO_STATEMENT,
        entry_point=subject.name,
        starter_code=subject.signature,
        public=checks,
        hidden=checks,
        source=SOURCE,
    )
    return _with_examples_shown(task, typed)


def _with_examples_shown(task: Task, typed: Typed) -> Task:
    """Return the task with its examples in the statement, if the prompt would leave any of them out.

    The prompt shows no checks if the statement mentions a call of the function, since the domain takes that for an example. It also
    leaves out an example that expects an exception, since it shows asserts only.
    """
    prompt = domain_of(task.domain).prompt(task)
    statements = [statement for example in typed.examples for statement in example.statements]
    if all(statement in prompt for statement in statements):
        return task
    return replace(task, statement="\n\n".join([task.statement, "\n".join(statements)]))
