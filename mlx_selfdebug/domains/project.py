"""The domain of functions of a user's project: the project's own tests judge them, in its own interpreter, run by pytest.

A task's ``data`` says where the function stands (``projects/place.py``). Its checks name tests, and the setup of the public checks
shows what these do:

    >>> checks_of(["tests/test_prices.py::test_total"]).source
    "def check(candidate):\\n    assert passes('tests/test_prices.py::test_total')\\n"

An answer is put into the function's place in a copy of the project, and exactly the tests of its checks are run. For a method, the
answer is its class with nothing but the method in it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from mlx_selfdebug.domains.base import Runner, Tidied
from mlx_selfdebug.domains.prompted import tested_text
from mlx_selfdebug.domains.python import PythonDomain
from mlx_selfdebug.domains.python_source import defines
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.parsing import literal, parse_quietly
from mlx_selfdebug.projects.fitting import fitted
from mlx_selfdebug.projects.place import Place
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function, Placed, SourceFile, functions_of
from mlx_selfdebug.projects.suite import Swap
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.projects.verdicts import executed_by, verdict_on
from mlx_selfdebug.projects.warm import WarmSuite, open_warm_suite
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome, Verdict

SLOWDOWN = 4.0
"""An answer may take four times as long as the right function took, if that is more than the runner grants."""
TRACED_SLOWDOWN = 5.0
"""How many times longer a run may take that records the lines which run."""
_T = TypeVar("_T")


class ProjectDomain(PythonDomain):
    name = "project"

    def asks(self, task: Task) -> tuple[str, str]:
        if not _is_method(task):
            return self.draft, self.again
        return self.draft.replace("function", "method", 1), self.again.replace("function", "method", 1)

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        """Return the starter code, the statement, and the source of the public tests."""
        parts = [f"```python\n{task.starter_code.strip()}\n```", task.statement.strip()]
        if public_checks and task.public.setup.strip():
            parts.append(f"It is tested like this:\n\n```python\n{task.public.setup.strip()}\n```")
        return "\n\n".join(parts)

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:  # noqa: ARG002
        return tested_text(failure, verdict).replace("Test failed:", f"Test failed: {failure.check}".rstrip(), 1)

    def extract(self, text: str, task: Task) -> Tidied:
        """Return the program in ``text``. Of an answer to a method, the method alone is kept, under the header of its class."""
        tidied = super().extract(text, task)
        stub = _stub(task.starter_code)
        if stub and _is_method(task):
            if not defines(tidied.code, task.entry_point):
                name = stub.name.rpartition(".")[2]
                bare = replace(task, entry_point=name, starter_code=textwrap.dedent(_without_headers(stub)))
                tidied = super().extract(text, bare)
            code = fitted(stub, tidied.code)
            if code and code != tidied.code:
                tidied = Tidied(code, (*tidied.steps, "method"))
        # The file around the function has the imports, so that nothing is imported for an answer.
        return Tidied(tidied.code, tuple(step for step in tidied.steps if step != "imports"))

    def judge(self, code: str, task: Task, checks: Checks, runner: Runner) -> Future[Verdict]:
        """Run the tests of ``checks`` on the project with ``code`` in it.

        Raises UsageError if the project has no such function any more or cannot be tested, SandboxError as ``open_suite`` does.
        """
        place, tests = Place.from_json(task.data), _tests_of(checks)
        warm = kept_suite(place.project, runner)
        warm.prepare(place.tests, tests)
        function = warm.function(place.file, place.function)
        if error := _syntax_error(code):
            return _not_run("load_error", error, runner, warm, len(tests))
        program = fitted(function, code) if function.headers else code
        placed = function.placed(program) if program else None
        if program is None or placed is None:
            name = function.name.rpartition(".")[2]
            error = ErrorFact("NameError", f"name {name!r} is not defined as a function")
            return _not_run("missing_entry", error, runner, warm, len(tests))
        return _tried(warm, function, program, placed, tests, place.seconds, runner)

    def nothing(self, task: Task) -> str:
        """Return the function with a body that returns None."""
        lines = task.starter_code.strip("\n").split("\n")
        begin = next(line for line in lines if line.lstrip().startswith(("def ", "async def ")))
        return "\n".join([*lines, f"{begin[: len(begin) - len(begin.lstrip())]}    return None"]) + "\n"


def kept_suite(project: Project, runner: Runner) -> WarmSuite:
    """Return the suite of a project, which is opened once for each runner and closed with it."""
    return runner.kept(("project", project), lambda level: open_warm_suite(project, level))


def checks_of(tests: Iterable[str], shown: str = "") -> Checks:
    """Return the checks that ``tests``, which are ids of pytest, pass. ``shown`` is the source of what may be shown of them."""
    return Checks.from_asserts([f"assert passes({id_!r})" for id_ in tests], shown)


@lru_cache(maxsize=4096)
def _tests_of(checks: Checks) -> tuple[str, ...]:
    """Return the ids of the tests that ``checks`` name. Raises UsageError if they name none."""
    calls = [node for node in ast.walk(parse_quietly(checks.source)) if isinstance(node, ast.Call)]
    named = [node.args for node in calls if isinstance(node.func, ast.Name) and node.func.id == "passes"]
    try:
        tests = tuple(str(literal(ast.unparse(id_))) for (id_,) in named)
    except ValueError:
        tests = ()
    if not tests:
        raise UsageError(
            f"the checks of a task of a project name no tests: {checks.source[:80]!r}; "
            "each is written as assert passes('tests/test_prices.py::test_total')"
        )
    return tests


def _is_method(task: Task) -> bool:
    return task.starter_code.lstrip().startswith("class ")


@lru_cache(maxsize=1024)
def _stub(starter_code: str) -> Function | None:
    """Return the function that starter code begins, with an empty body; None if it begins none."""
    lines = starter_code.strip("\n").split("\n")
    deepest = max((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    text = "\n".join([*lines, " " * (deepest + 4) + "pass"]) + "\n"
    functions = functions_of(SourceFile("", text, "utf-8"))
    return functions[0] if len(functions) == 1 else None


def _without_headers(stub: Function) -> str:
    return "\n".join(stub.signature.split("\n")[len(stub.headers) :])


def _syntax_error(code: str) -> ErrorFact | None:
    try:
        parse_quietly(code)
    except SyntaxError as error:
        lines, line = code.split("\n"), error.lineno or 0
        return ErrorFact("SyntaxError", error.msg, line, lines[line - 1].strip() if 0 < line <= len(lines) else "")
    except ValueError as error:
        return ErrorFact("ValueError", str(error))
    return None


def _tried(
    warm: WarmSuite,
    function: Function,
    program: str,
    placed: Placed,
    tests: tuple[str, ...],
    seconds: float,
    runner: Runner,
) -> Future[Any]:
    """Begin to test a function in its place. The result is a verdict, or an Executed if the runner traces."""
    manner, file = runner.manner, function.file.name
    wall_s = max(manner.wall_s, SLOWDOWN * seconds) * (TRACED_SLOWDOWN if manner.traced else 1)
    run = warm.run(
        tests,
        {file: placed.text},
        swap=Swap.to(function, program),
        first_failure=manner.first_failure,
        facts=not (manner.first_failure or manner.traced),
        trace=[file] if manner.traced else (),
        wall_s=wall_s,
        stall_s=wall_s,
    )
    suite = warm.suite
    if manner.traced:
        return _then(run, lambda result: executed_by(placed, str(suite.seen / file), result, tests))
    return _then(
        run, lambda result: replace(verdict_on(placed, file, result, tests, suite.seen), isolation=suite.isolation)
    )


def _then(run: Future[SuiteRun], read: Callable[[SuiteRun], _T]) -> Future[_T]:
    """Return the future of what ``read`` makes of a run. If it is cancelled, so is the run."""
    future: Future[_T] = Future()

    def take(done: Future[SuiteRun]) -> None:
        if done.cancelled() or not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(read(done.result()))
        except BaseException as error:
            future.set_exception(error)

    run.add_done_callback(take)
    future.add_done_callback(lambda done: done.cancelled() and run.cancel())
    return future


def _not_run(outcome: Outcome, error: ErrorFact, runner: Runner, warm: WarmSuite, n_checks: int) -> Future[Any]:
    """Return what is known without a run: the verdict that the code cannot be run, or that no lines of it run."""
    failure = Failure("", error=error)
    verdict = Verdict(outcome, (failure,), n_checks=n_checks, isolation=warm.suite.isolation)
    future: Future[Any] = Future()
    future.set_result(Executed() if runner.manner.traced else verdict)
    return future
