"""Define the domain of functions in a user's project: the project's own tests decide whether an answer is right.

Pytest runs the tests in the project's own interpreter. A task's ``data`` says where its function is (``projects/place.py``). The
checks name tests by their pytest ids. The setup of the public checks is never run: it is the source of their tests, which prompts
show.

    >>> checks_of(["tests/test_prices.py::test_total"]).source
    "def check(candidate):\\n    assert passes('tests/test_prices.py::test_total')\\n"

An answer is put in the place of the function in a copy of the project, and exactly the named tests are run. If the function is a
method, the answer is its class with nothing but the method in it. ``tasks/own/project_tasks.py`` makes such tasks.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.futures import derived, not_run
from mlx_selfdebug.domains.prompted import failed_check_text, got_line
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.python_source import defines
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.parsing import literal, parse_quietly
from mlx_selfdebug.projects.fitting import fitted
from mlx_selfdebug.projects.place import Place
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function, Placed, SourceFile, functions_of
from mlx_selfdebug.projects.suite import Swap
from mlx_selfdebug.projects.verdicts import executed_by, verdict_on
from mlx_selfdebug.projects.warm import WarmSuite, open_warm_suite
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

SLOWDOWN = 4.0
"""An answer may take this many times as long as the right function took, or the runner's time limit if that is longer."""
TRACED_SLOWDOWN = 5.0
"""A run that records which lines are executed may take this many times as long as one that does not."""


class ProjectDomain(PythonDomain):
    """The domain of functions in a user's project."""

    name = "project"

    def noun(self, task: Task) -> str:
        """Return the word for what the task asks for: "function" or "method"."""
        return "method" if _is_method(task) else "function"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """Return the starter code, the statement, and, with ``public_checks``, the source of the public tests."""
        parts = [f"```python\n{task.starter_code.strip()}\n```", task.statement.strip()]
        if public_checks and task.public.setup.strip():
            parts.append(f"It is tested like this:\n\n```python\n{task.public.setup.strip()}\n```")
        return "\n\n".join(parts)

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        """Return one failed test as text, with the statement that failed in its heading."""
        heading = f"Test failed: {failure.check}".rstrip()
        return failed_check_text(failure, got_line(failure, verdict), heading=heading)

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the program in ``text``. If the task asks for a method, only the method is kept, under the header of its class."""
        tidied = super().extract(text, task)
        stub = _stub(task.starter_code)
        if stub and _is_method(task):
            if not defines(tidied.code, task.entry_point):
                # The answer may be the method without its class. It is then tidied as the answer to a task for a function.
                name = stub.name.rpartition(".")[2]
                function_task = replace(task, entry_point=name, starter_code=textwrap.dedent(_without_headers(stub)))
                tidied = super().extract(text, function_task)
            code = fitted(stub, tidied.code)
            if code and code != tidied.code:
                tidied = Tidied(code, (*tidied.steps, "method"))
        # No imports are added to an answer here, since the file around the function has them.
        return Tidied(tidied.code, tuple(step for step in tidied.steps if step != "imports"))

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Start the tests that ``checks`` name on the project with ``code`` in it, and return the future of the verdict.

        If the runner traces (see ``Manner``), the future holds an ``Executed`` instead. Raises UsageError if the project no longer
        has the function or cannot be tested, and SandboxError as ``open_suite`` does.
        """
        place, tests = Place.from_json(task.data), _tests_of(checks)
        warm = kept_suite(place.project, runner)
        warm.prepare(place.tests, tests)
        function = warm.function(place.file, place.function)
        if error := _syntax_error(code):
            return not_run("load_error", error, runner, warm.suite.isolation, len(tests))
        program = fitted(function, code) if function.headers else code
        placed = function.placed(program) if program else None
        if program is None or placed is None:
            name = function.name.rpartition(".")[2]
            error = ErrorFact("NameError", f"name {name!r} is not defined as a function")
            return not_run("missing_entry", error, runner, warm.suite.isolation, len(tests))
        return _start_tests(warm, function, program, placed, tests, place.seconds, runner)

    def nothing(self, task: Task) -> str:
        """Return the function with a body that returns None."""
        lines = task.starter_code.strip("\n").split("\n")
        def_line = next(line for line in lines if line.lstrip().startswith(("def ", "async def ")))
        indentation = def_line[: len(def_line) - len(def_line.lstrip())]
        return "\n".join([*lines, f"{indentation}    return None"]) + "\n"


def kept_suite(project: Project, runner: Runner) -> WarmSuite:
    """Return the test suite of a project. It is opened once per runner, and closed when the runner is."""
    return runner.kept(("project", project), lambda level: open_warm_suite(project, level))


def checks_of(tests: Iterable[str], shown: str = "") -> Checks:
    """Return checks that the tests with these pytest ids pass. ``shown`` is the source of the tests that a prompt may show."""
    return Checks.from_asserts([f"assert passes({id_!r})" for id_ in tests], shown)


@lru_cache(maxsize=4096)
def _tests_of(checks: Checks) -> tuple[str, ...]:
    """Return the ids of the tests that ``checks`` name. Raises UsageError if they name none."""
    calls = [node for node in ast.walk(parse_quietly(checks.source)) if isinstance(node, ast.Call)]
    arguments = [node.args for node in calls if isinstance(node.func, ast.Name) and node.func.id == "passes"]
    try:
        tests = tuple(str(literal(ast.unparse(id_))) for (id_,) in arguments)
    except ValueError:  # A call has another number of arguments than one, or its argument is no literal.
        tests = ()
    if not tests:
        raise UsageError(
            f"the checks of a task of a project name no tests: {checks.source[:80]!r}; "
            "each is written as assert passes('tests/test_prices.py::test_total')"
        )
    return tests


def _is_method(task: Task) -> bool:
    """Return whether a task asks for a method. Its starter code then begins with the header of the class."""
    return task.starter_code.lstrip().startswith("class ")


@lru_cache(maxsize=1024)
def _stub(starter_code: str) -> Function | None:
    """Return the function that the starter code begins, with ``pass`` as its body; None if the code begins no single function."""
    lines = starter_code.strip("\n").split("\n")
    indent = max((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    text = "\n".join([*lines, " " * (indent + 4) + "pass"]) + "\n"
    functions = functions_of(SourceFile("", text, "utf-8"))
    return functions[0] if len(functions) == 1 else None


def _without_headers(stub: Function) -> str:
    """Return the signature of a method without the header lines of its class and of other blocks around it."""
    return "\n".join(stub.signature.split("\n")[len(stub.headers) :])


def _syntax_error(code: str) -> ErrorFact | None:
    """Return the error that keeps ``code`` from being parsed, or None if it parses."""
    try:
        parse_quietly(code)
    except SyntaxError as error:
        lines, line = code.split("\n"), error.lineno or 0
        return ErrorFact("SyntaxError", error.msg, line, lines[line - 1].strip() if 0 < line <= len(lines) else "")
    except ValueError as error:
        return ErrorFact("ValueError", str(error))
    return None


def _start_tests(
    warm: WarmSuite,
    function: Function,
    program: str,
    placed: Placed,
    tests: tuple[str, ...],
    seconds: float,
    runner: Runner,
) -> Future[Any]:
    """Start ``tests`` with ``program``, a version of ``function``, in its place, which gives the file ``placed.text``.

    ``seconds`` is the time that the tests took with the right function. The future holds a verdict, or an Executed if the runner
    traces.
    """
    manner, file = runner.manner, function.file.name
    wall_s = max(manner.wall_s, SLOWDOWN * seconds) * (TRACED_SLOWDOWN if manner.traced else 1)
    run = warm.run(
        tests,
        {file: placed.text},
        swap=Swap.to(function, program),
        stop_at_first_failure=manner.stop_at_first_failure,
        facts=not (manner.stop_at_first_failure or manner.traced),
        trace=[file] if manner.traced else (),
        wall_s=wall_s,
        stall_s=wall_s,
    )
    suite = warm.suite
    if manner.traced:
        return derived(run, lambda result: executed_by(placed, str(suite.seen / file), result, tests))
    return derived(
        run, lambda result: replace(verdict_on(placed, file, result, tests, suite.seen), isolation=suite.isolation)
    )
