"""Make tasks of the functions of a user's own package that its tests cover, and of the same functions with bugs put in.

What this module makes of the sources of tests can be tested anywhere and cannot be fooled. What cannot be made in this way is left
to the project's own suite (project_tasks.py).

The modules and test modules of a folder, and the module-level functions that the tests import, are found without running anything.
A function becomes a task if its module needs nothing but the standard library, if at least two tests use it and nothing else of the
package, and if it passes them in the test runner while an empty answer does not. The first third of its tests is public, and the
others score. Functions and tests that are left out are listed with the reason, and so are files that cannot be read.

The rest of the module is the task's ``data``, which runs before the answer.
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
from mlx_selfdebug.tasks.own.project_tasks import Found, project_tasks
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
NO_DOCSTRING = "Write this function so that its tests pass."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Used:
    """A test with what it uses of the package."""

    module: Module
    case: Case
    targets: frozenset[Target]
    problem: str
    """The reason why the test cannot be run, or an empty string."""


@dataclass
class Possible:
    """Tasks whose references were not run yet, and what cannot be part of any task, with the reasons."""

    tasks: list[Task] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)
    tests: dict[tuple[str, str], str] = field(default_factory=dict)
    """The reasons by the path of the file and the name of the test."""
    files: dict[str, str] = field(default_factory=dict)
    suite: str = ""
    """Why the project's own suite, or a part of it, was not used, or an empty string."""

    def take(self, found: Found) -> None:
        """Take over what the project's own suite has shown: it is the last word on what it has run."""
        known = {_name(task) for task in found.tasks}
        self.functions = {name: why for name, why in (self.functions | found.functions).items() if name not in known}
        reasons = self.tests | found.tests | dict.fromkeys(self.tests.keys() & found.passing, "no task is judged by it")
        self.tests = {test: why for test, why in reasons.items() if test not in found.used}
        self.files |= found.files
        self.suite = found.problem

    def reasons(self) -> dict[str, list[str]]:
        """Return what is left out, by kind, each with its reason. Tests of a file with the same reason are named together."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for (file, label), reason in self.tests.items():
            grouped.setdefault((file, reason), []).append(label)
        return {
            "functions": [f"{name}: {reason}" for name, reason in self.functions.items()],
            "tests": [f"{file}: {', '.join(labels)}: {reason}" for (file, reason), labels in grouped.items()],
            "files": [f"{name}: {reason}" for name, reason in self.files.items()],
        }


def function_tasks(folder: Path) -> list[Task]:
    """Return a task per function that can be one, and log which functions are left out and why.

    Raises TaskError if no function of the folder can be a task.
    """
    with open_audit_runner(SandboxConfig()) as runner:
        return _fit_tasks(folder, runner)


def bug_tasks(folder: Path) -> list[Task]:
    """Return tasks that ask for a function with one bug to be corrected. The bugs are mutants that load and fail the tests.

    Raises TaskError if the tests catch no bug, and as ``function_tasks`` does.
    """
    with open_audit_runner(SandboxConfig()) as runner:
        tasks = [bug for task in _fit_tasks(folder, runner) for bug in _bugs(task, runner)]
    if not tasks:
        raise TaskError(f"{folder}: the tests catch none of the bugs that were put into the functions")
    return tasks


def _fit_tasks(folder: Path, runner: TestRunner) -> list[Task]:
    possible = _possible_tasks(folder)
    fit = _checked(possible.tasks, possible, runner)
    found = project_tasks(folder, runner, {_name(task) for task in fit})
    possible.take(found)
    fit += _checked(found.tasks, possible, runner)
    for kind, reasons in possible.reasons().items():
        if reasons:
            logger.warning("%s: these %s are left out:\n  %s", folder, kind, "\n  ".join(reasons))
    if possible.suite:
        logger.warning("%s: %s", folder, possible.suite)
    if not fit:
        raise TaskError(
            f"{folder}: the folder has no function that can be a task",
            problems=[reason for reasons in possible.reasons().values() for reason in reasons],
            hint="a function needs two tests that run it and pass: try pytest in that folder, with the project's interpreter",
        )
    return fit


def _checked(tasks: Sequence[Task], possible: Possible, runner: TestRunner) -> list[Task]:
    """Return the tasks that are sound, and note why the others are not."""
    wrong = {problem.task_id: problem.what for problem in check_tasks(tasks, runner) if problem.severity == "error"}
    possible.functions |= {task_id.removeprefix("functions/"): what for task_id, what in wrong.items()}
    return [task for task in tasks if task.id not in wrong]


def _name(task: Task) -> str:
    return task.id.removeprefix("functions/")


def _possible_tasks(folder: Path) -> Possible:
    modules, unread = read_modules(folder)
    possible = Possible(files=unread)
    package = Package([module for module in modules if not module.is_test])
    tests = [test for module in modules if module.is_test for test in _tests(module, package)]
    used: set[int] = set()
    for module in package.modules:
        for name in module.functions:
            using = [test for test in tests if (module.dotted, name) in test.targets]
            if not using:
                continue
            alone = [test for test in using if len(test.targets) == 1 and not test.problem]
            try:
                possible.tasks.append(_task(module, name, alone, using, package))
                used |= {id(test) for test in alone}
            except ValueError as error:
                possible.functions[f"{module.dotted}.{name}"] = str(error)
    for test in tests:
        if id(test) not in used:
            place = str(test.module.path.relative_to(folder)), test.case.label
            possible.tests[place] = test.problem or _reason(test)
    return possible


def _tests(module: Module, package: Package) -> Iterator[Used]:
    package.add_star_imports(module.suite)
    for case in module.suite.cases:
        targets = {origin: package.target(origin) for origin in case.uses}
        lacking = sorted(origin for origin, target in targets.items() if target is None and is_foreign(origin))
        problem = case.problem or (f"it uses {lacking[0]}, which a test run does not have" if lacking else "")
        yield Used(module, case, frozenset(target for target in targets.values() if target), problem)


def _reason(test: Used) -> str:
    """Return why a test that can be run belongs to no task."""
    names = sorted(f"{home.strip()}.{name}".rstrip(".") for home, name in test.targets)
    if not names:
        return "it uses nothing of the package"
    if len(names) > 1:
        return f"it uses more than one thing of the package: {', '.join(names)}"
    [(home, _)] = test.targets
    return (
        f"it uses {names[0]}, which is not a function of a module" if home.endswith(" ") else f"{names[0]} is left out"
    )


def _task(module: Module, name: str, tests: Sequence[Used], using: Sequence[Used], package: Package) -> Task:
    """Build the task of a function. Raises ValueError that says why the function cannot be one."""
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
        public=_checks(tests[:n_public], (module.dotted, name), package),
        hidden=_checks(tests[n_public:], (module.dotted, name), package),
        data=_without(source, node),
        reference=(ast.get_source_segment(source, node) or "") + "\n",
        source="functions",
    )


def _without(source: str, node: ast.FunctionDef) -> str:
    lines = source.split("\n")
    return "\n".join([*lines[: node.lineno - 1], *lines[node.end_lineno :]]).strip("\n") + "\n"


def _statement(module: Module, node: ast.FunctionDef) -> str:
    """Return the function's docstring and the ``def`` lines of those functions of its module that it uses."""
    text = inspect.cleandoc(ast.get_docstring(node) or NO_DOCSTRING)
    used = [function for name, function in module.functions.items() if name in _loaded(node) and name != node.name]
    if not used:
        return text
    lines = "\n".join(f"{starter_of(module.source, function)} ..." for function in used)
    return f"{text}\n\nThese are there:\n\n```python\n{lines}\n```"


def _loaded(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _checks(tests: Sequence[Used], target: Target, package: Package) -> Checks:
    """Return checks made of these tests and of what they need of their modules."""

    def name_of(origin: str) -> str:
        name = origin.rpartition(".")[2]
        return name if name == target[1] and package.target(origin) == target else ""

    made = []
    for module in {test.module.path: test.module for test in tests}.values():
        labels = {test.case.label for test in tests if test.module is module}
        made.append(Checks.from_source(module.suite.source(name_of, labels)))
    return joined(made)


def _bugs(task: Task, runner: TestRunner) -> Iterator[Task]:
    domain = domain_of(task.domain)
    # The docstring is dropped because the statement holds it already. A function that returns nothing has no bug worth looking for.
    source = _without_docstring(task.reference)
    drawn = mutants_of(source, task.entry_point, max_mutants=MAX_TRIED_MUTANTS, seed=task.id)
    mutants = [mutant for mutant in drawn if mutant.operator != "return"]
    # What the tests of a project show of a bug is all that is known of it, so a public one has to fail as well.
    kinds = (task.hidden, task.public) if task.domain == "project" else (task.hidden,)
    runs = [(mutant, [domain.judge(mutant.source, task, checks, runner) for checks in kinds]) for mutant in mutants]
    caught = [mutant for mutant, of_kinds in runs if all(run.result().outcome in _CAUGHT for run in of_kinds)]
    for number, mutant in enumerate(caught[:: max(1, len(caught) // MAX_BUGS)][:MAX_BUGS], 1):
        yield replace(
            task,
            id=f"{task.id.replace('functions/', 'bugs/', 1)}/{number}",
            statement=repair_statement(mutant.source, task.statement),
            wrong=(mutant.source,),
            source="bugs",
        )


def _without_docstring(source: str) -> str:
    tree = parsed(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"
