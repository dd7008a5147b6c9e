"""Make tasks of the functions of a user's own project that its tests cover, and of the same functions with bugs put in.

A function becomes a task in one of two ways. This module translates the sources of its tests into checks, if

- at least two tests use the function, and use nothing else of the project,
- the module of the function needs nothing but the standard library, and
- the function passes these checks in the test runner, while an empty answer does not.

The rest of the function's module is the ``data`` of the task, which runs before the answer. Such a task can be tested anywhere, and
no program can fool its checks. All other functions are left to the project's own suite (project_tasks.py).

Either way, a third of the tests of a function is public, and the others score. Functions and tests that are left out are logged
with the reasons, and so are files that cannot be read.
"""

from __future__ import annotations

import ast
import inspect
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlx_selfdebug.auditing.audit import open_audit_runner
from mlx_selfdebug.auditing.mutants import mutants_of
from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.tasks.own.annotations import with_quoted_annotations
from mlx_selfdebug.tasks.own.modules import Module, Package, Target, packages_needed, read_modules
from mlx_selfdebug.tasks.own.project_tasks import SuiteTasks, project_tasks
from mlx_selfdebug.tasks.own.source import joined, parsed, starter_of
from mlx_selfdebug.tasks.statements import repair_statement
from mlx_selfdebug.translating.imports import is_foreign
from mlx_selfdebug.translating.unittests import Case
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

TESTS_PER_PUBLIC_TEST = 3
"""One of this many tests of a function is public."""
MAX_BUGS = 3
"""The number of bugs per function."""
MAX_TRIED_MUTANTS = 12
"""The number of mutants per function among which bugs are looked for."""
_CAUGHT = frozenset({"failed", "raised"})
"""The outcomes by which tests catch a bug. A mutant that does not load, or does not end, is not used as a bug."""
NO_DOCSTRING = "Write this function so that its tests pass."
"""The statement of a task whose function has no docstring."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceTest:
    """A test, as its source shows it."""

    module: Module
    """The module that holds the test."""
    case: Case
    targets: frozenset[Target]
    """The functions and other things of the package that the test uses."""
    problem: str
    """The reason why the test cannot be run in the test runner, or an empty string."""


@dataclass
class LeftOut:
    """Functions, tests and files that are not part of any task, each with the reason."""

    functions: dict[str, str] = field(default_factory=dict)
    """The reasons by the dotted name of the function."""
    tests: dict[tuple[str, str], str] = field(default_factory=dict)
    """The reasons by the path of the file and the name of the test."""
    files: dict[str, str] = field(default_factory=dict)
    """The reasons by the path of the file."""
    suite: str = ""
    """Why the project's own suite, or a part of it, was not used, or an empty string."""

    def update(self, suite_tasks: SuiteTasks) -> None:
        """Add the reasons that the project's own suite has given, and drop what has become part of a task after all."""
        known = {_name(task) for task in suite_tasks.tasks}
        functions = self.functions | suite_tasks.functions
        self.functions = {name: reason for name, reason in functions.items() if name not in known}
        unused = dict.fromkeys(self.tests.keys() & suite_tasks.passing, "no task is judged by it")
        tests = self.tests | suite_tasks.tests | unused
        self.tests = {test: reason for test, reason in tests.items() if test not in suite_tasks.used}
        self.files |= suite_tasks.files
        self.suite = suite_tasks.problem

    def reasons(self) -> dict[str, list[str]]:
        """Return all reasons as text, by kind. Tests of one file that have the same reason are named together."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for (file, label), reason in self.tests.items():
            grouped.setdefault((file, reason), []).append(label)
        return {
            "functions": [f"{name}: {reason}" for name, reason in self.functions.items()],
            "tests": [f"{file}: {', '.join(labels)}: {reason}" for (file, reason), labels in grouped.items()],
            "files": [f"{name}: {reason}" for name, reason in self.files.items()],
        }


def function_tasks(folder: Path) -> list[Task]:
    """Return a task for each function of a project that can be one. What is left out is logged with the reasons.

    Raises TaskError if there is no such folder, or if no function in it can be a task.
    """
    with open_audit_runner(SandboxConfig()) as runner:
        return _sound_tasks(folder, runner)


def bug_tasks(folder: Path) -> list[Task]:
    """Return tasks that ask to correct a function with one bug. The bugs are mutants that load and that the tests catch.

    Raises TaskError if the tests catch no bug, and as ``function_tasks`` does.
    """
    with open_audit_runner(SandboxConfig()) as runner:
        tasks = [bug for task in _sound_tasks(folder, runner) for bug in _bugs(task, runner)]
    if not tasks:
        raise TaskError(f"{folder}: the tests catch none of the bugs that were put into the functions")
    return tasks


def _sound_tasks(folder: Path, runner: TestRunner) -> list[Task]:
    """Make tasks in both ways, keep those whose checks are sound, and log what is left out."""
    translated, left_out = _translated_tasks(folder)
    sound = _sound(translated, left_out, runner)
    suite_tasks = project_tasks(folder, runner, {_name(task) for task in sound})
    left_out.update(suite_tasks)
    sound += _sound(suite_tasks.tasks, left_out, runner)
    for kind, reasons in left_out.reasons().items():
        if reasons:
            logger.warning("%s: these %s are left out:\n  %s", folder, kind, "\n  ".join(reasons))
    if left_out.suite:
        logger.warning("%s: %s", folder, left_out.suite)
    if not sound:
        raise TaskError(
            f"{folder}: the folder has no function that can be a task",
            problems=[reason for reasons in left_out.reasons().values() for reason in reasons],
            hint="a function needs two tests that run it and pass: try pytest in that folder, with the project's interpreter",
        )
    return sound


def _sound(tasks: Sequence[Task], left_out: LeftOut, runner: TestRunner) -> list[Task]:
    """Return the tasks in which ``check_tasks`` finds no error, and add the functions of the others to ``left_out``."""
    wrong = {problem.task_id: problem.what for problem in check_tasks(tasks, runner) if problem.severity == "error"}
    left_out.functions |= {task_id.removeprefix("functions/"): what for task_id, what in wrong.items()}
    return [task for task in tasks if task.id not in wrong]


def _name(task: Task) -> str:
    """Return the dotted name of the function that a task asks for."""
    return task.id.removeprefix("functions/")


def _translated_tasks(folder: Path) -> tuple[list[Task], LeftOut]:
    """Return the tasks whose checks are translated from tests, and the functions, tests and files that are not part of any.

    No reference was run yet, so some of these tasks may turn out not to be sound.
    """
    modules, unreadable = read_modules(folder)
    tasks, left_out = list[Task](), LeftOut(files=unreadable)
    package = Package([module for module in modules if not module.is_test])
    tests = [test for module in modules if module.is_test for test in _tests(module, package)]
    used: set[int] = set()
    for module in package.modules:
        for name in module.functions:
            using = [test for test in tests if Target(module.dotted, name) in test.targets]
            if not using:
                continue
            judging = [test for test in using if len(test.targets) == 1 and not test.problem]
            try:
                tasks.append(_task(module, name, judging, using, package))
                used |= {id(test) for test in judging}
            except ValueError as error:
                left_out.functions[f"{module.dotted}.{name}"] = str(error)
    for test in tests:
        if id(test) not in used:
            key = str(test.module.path.relative_to(folder)), test.case.label
            left_out.tests[key] = test.problem or _reason(test)
    return tasks, left_out


def _tests(module: Module, package: Package) -> Iterator[SourceTest]:
    """Yield the tests of a test module."""
    package.add_star_imports(module.suite)
    for case in module.suite.cases:
        targets = {origin: package.target(origin) for origin in case.uses}
        lacking = sorted(origin for origin, target in targets.items() if target is None and is_foreign(origin))
        problem = case.problem or (f"it uses {lacking[0]}, which a test run does not have" if lacking else "")
        yield SourceTest(module, case, frozenset(target for target in targets.values() if target), problem)


def _reason(test: SourceTest) -> str:
    """Return why a test that can be run belongs to no task."""
    names = sorted(f"{target.module}.{target.name}".rstrip(".") for target in test.targets)
    if not names:
        return "it uses nothing of the package"
    if len(names) > 1:
        return f"it uses more than one thing of the package: {', '.join(names)}"
    [target] = test.targets
    if not target.is_function:
        return f"it uses {names[0]}, which is not a function of a module"
    return f"{names[0]} is left out"


def _task(
    module: Module, name: str, tests: Sequence[SourceTest], using: Sequence[SourceTest], package: Package
) -> Task:
    """Build the task of a function.

    Args:
        module: The module of the function.
        name: The name of the function.
        tests: The tests that can judge the function, since they use nothing else of the package.
        using: All tests that use the function.
        package: The modules under test.

    Raises ValueError that says why the function cannot be a task.
    """
    if len(tests) < 2:
        can_be_run = " and can be run" if any(test.problem for test in using) else ""
        raise ValueError(
            f"{len(tests)} of the {len(using)} tests that use it {'uses' if len(tests) == 1 else 'use'} nothing else of the package"
            f"{can_be_run}; two are needed, one to show and one to score"
        )
    node = module.functions[name]
    if isinstance(node, ast.AsyncFunctionDef):
        raise ValueError("it is async")
    if name == "check":
        raise ValueError("it is called check, which is the name of the function that runs checks")
    if node.decorator_list:
        raise ValueError("it is decorated")
    if packages := packages_needed(module, node):
        raise ValueError(f"its module imports {', '.join(packages)}, which a test run does not have")
    source = with_quoted_annotations(module.source, name)
    module = replace(module, source=source)
    node = module.functions[name]
    assert isinstance(node, ast.FunctionDef)
    n_public = max(1, len(tests) // TESTS_PER_PUBLIC_TEST)
    return Task(
        id=f"functions/{module.dotted}.{name}",
        domain="python",
        statement=_statement(module, node),
        entry_point=name,
        starter_code=starter_of(source, node),
        public=_checks(tests[:n_public], Target(module.dotted, name), package),
        hidden=_checks(tests[n_public:], Target(module.dotted, name), package),
        data=_without(source, node),
        reference=(ast.get_source_segment(source, node) or "") + "\n",
        source="functions",
    )


def _without(source: str, node: ast.FunctionDef) -> str:
    """Return the source of a module without the lines of one of its functions."""
    lines = source.split("\n")
    return "\n".join([*lines[: node.lineno - 1], *lines[node.end_lineno :]]).strip("\n") + "\n"


def _statement(module: Module, node: ast.FunctionDef) -> str:
    """Return the docstring of a function, and the signatures of those functions of its module that it uses."""
    text = inspect.cleandoc(ast.get_docstring(node) or NO_DOCSTRING)
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {node.name}
    used = [function for name, function in module.functions.items() if name in names]
    if not used:
        return text
    signatures = "\n".join(f"{starter_of(module.source, function)} ..." for function in used)
    return f"{text}\n\nThese are there:\n\n```python\n{signatures}\n```"


def _checks(tests: Sequence[SourceTest], target: Target, package: Package) -> Checks:
    """Return checks of ``target`` that are translated from these tests and from what they need of their modules."""

    def name_of(origin: str) -> str:
        name = origin.rpartition(".")[2]
        return name if name == target.name and package.target(origin) == target else ""

    checks = []
    for module in {test.module.path: test.module for test in tests}.values():
        labels = {test.case.label for test in tests if test.module is module}
        checks.append(Checks.from_source(module.suite.source(name_of, labels)))
    return joined(checks)


def _bugs(task: Task, runner: TestRunner) -> Iterator[Task]:
    """Yield up to ``MAX_BUGS`` tasks of correcting the function of ``task`` with a bug in it."""
    domain = domain_of(task.domain)
    # The docstring is dropped because the statement holds it already.
    source = _without_docstring(task.reference)
    drawn = mutants_of(source, task.entry_point, max_mutants=MAX_TRIED_MUTANTS, seed=task.id)
    # The operator "return" makes a function return None, which is no bug worth looking for.
    mutants = [mutant for mutant in drawn if mutant.operator != "return"]
    # What the tests of a project show of a bug is all that is known of it, so a public one has to fail as well.
    checks_to_fail = (task.hidden, task.public) if task.domain == "project" else (task.hidden,)
    runs = [
        (mutant, [domain.judge(mutant.source, task, checks, runner) for checks in checks_to_fail]) for mutant in mutants
    ]
    caught = [mutant for mutant, verdicts in runs if all(v.result().outcome in _CAUGHT for v in verdicts)]
    # If more are caught than are wanted, the bugs are evenly spaced among them.
    for number, mutant in enumerate(caught[:: max(1, len(caught) // MAX_BUGS)][:MAX_BUGS], 1):
        yield replace(
            task,
            id=f"{task.id.replace('functions/', 'bugs/', 1)}/{number}",
            statement=repair_statement(mutant.source, task.statement),
            wrong=(mutant.source,),
            source="bugs",
        )


def _without_docstring(source: str) -> str:
    """Return the source of a program without the docstrings of its functions, and without comments."""
    tree = parsed(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"
