"""Makes tasks of the functions of a user's own package that its tests cover, and of the same functions with bugs put in.

The modules and test modules of a folder, and the module-level functions that the tests import, are found without running anything.
A function becomes a task if its module needs nothing but the standard library, if at least two tests use it and nothing else of the
package, and if it passes them in the test runner while an empty answer does not. The first third of its tests is public, and the
others score. Functions that are left out are listed with the reason.

The rest of the module is the task's ``data``, which runs before the answer.
"""

from __future__ import annotations

import ast
import inspect
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mlx_selfdebug.auditing.audit import open_audit_runner
from mlx_selfdebug.auditing.mutants import mutants_of
from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.tasks.own.source import parsed, read_text, starter_of
from mlx_selfdebug.tasks.statements import to_be_mended
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

MAX_FILES = 5_000
TESTS_PER_PUBLIC_TEST = 3
"""One of this many tests of a function is public."""
MAX_BUGS = 3
"""The number of bugs per function."""
MAX_TRIED_MUTANTS = 12
"""The number of mutants per function among which bugs are looked for."""
SKIPPED = {"build", "dist", "node_modules", "site-packages", "venv", "__pycache__"}
NO_DOCSTRING = "Write this function so that its tests pass."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Module:
    """A module of the package, or one of its test modules."""

    path: Path
    dotted: str
    """The path from the folder with dots: ``src.pkg.mod``."""
    source: str

    @cached_property
    def tree(self) -> ast.Module | None:
        """Parse the source, or return None if it is not valid Python."""
        try:
            return parsed(self.source)
        except ValueError:
            return None

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        body = self.tree.body if self.tree else []
        return {node.name: node for node in body if isinstance(node, ast.FunctionDef) and node.name != "check"}

    @property
    def is_test(self) -> bool:
        return self.path.name.startswith("test_") or self.path.stem.endswith("_test")


@dataclass(frozen=True)
class Used:
    """A test with the functions of the package that it uses."""

    module: Module
    node: ast.FunctionDef
    of_class: ast.ClassDef | None
    functions: frozenset[tuple[str, str]]
    """The functions as pairs of a module and a name."""


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
    tasks, left_out = _possible_tasks(folder)
    for problem in check_tasks(tasks, runner):
        if problem.severity == "error":
            left_out[problem.task_id] = problem.what
    fit = [task for task in tasks if task.id not in left_out]
    if left_out:
        shown = [f"{name} ({why})" for name, why in left_out.items()]
        logger.warning("%s: %d functions are left out: %s", folder, len(left_out), "; ".join(shown))
    if not fit:
        raise TaskError(
            f"{folder}: the folder has no function that can be a task",
            problems=[f"{name}: {why}" for name, why in left_out.items()],
            hint="a function needs two tests that import it by name and use nothing else of the package",
        )
    return fit


def _possible_tasks(folder: Path) -> tuple[list[Task], dict[str, str]]:
    """Return tasks whose references were not run yet, and for other tested functions the reason why they cannot be tasks."""
    modules = list(_modules(folder))
    package = [module for module in modules if not module.is_test]
    tests = [test for module in modules if module.is_test for test in _tests(module, package)]
    tasks: list[Task] = []
    left_out: dict[str, str] = {}
    for module in package:
        for name in module.functions:
            key = (module.dotted, name)
            using = [test for test in tests if key in test.functions]
            alone = [test for test in using if len(test.functions) == 1]
            if not using:
                continue
            try:
                tasks.append(_task(module, name, alone, len(using)))
            except ValueError as error:
                left_out[f"{module.dotted}.{name}"] = str(error)
    return tasks, left_out


def _modules(folder: Path) -> Iterator[Module]:
    if not folder.is_dir():
        raise TaskError(f"{folder}: there is no such folder")
    paths = sorted(folder.rglob("*.py"))
    if len(paths) > MAX_FILES:
        raise TaskError(f"{folder}: more than {MAX_FILES:,} Python files", hint="name the folder of one package")
    for path in paths:
        parts = path.relative_to(folder).with_suffix("").parts
        if SKIPPED.intersection(parts) or any(part.startswith(".") for part in parts):
            continue
        try:
            text = read_text(path)
        except ValueError:
            continue
        yield Module(path, ".".join(parts).removesuffix(".__init__"), text)


def _tests(module: Module, package: Sequence[Module]) -> Iterator[Used]:
    """Yield the tests of a test module that use anything of the package."""
    if module.tree is None:
        return
    names = _imported(module.tree, package)
    for node, of_class in _test_functions(module.tree):
        functions = frozenset(names[used] for used in _loaded(node) if used in names)
        if functions:
            yield Used(module, node, of_class, functions)


def _test_functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.ClassDef | None]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            yield from (
                (item, node) for item in node.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test")
            )


def _imported(tree: ast.Module, package: Sequence[Module]) -> dict[str, tuple[str, str]]:
    """Return the names of the package that a module imports, as (module, name) under the name that the module uses."""
    names = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        for alias in node.names:
            home = _home(node.module, alias.name, package)
            if home:
                names[alias.asname or alias.name] = (home, alias.name)
    return names


def _home(module: str, name: str, package: Sequence[Module]) -> str:
    """Return the dotted path of the module that defines ``name``, which is imported from ``module``.

    That is ``module`` itself, or a module inside it if ``module`` only passes the name on.
    """
    near = [other for other in package if _is_named(other.dotted, module)]
    inside = [other for other in package if f".{module}." in f".{other.dotted}."]
    for chosen in (near, inside):
        homes = [other.dotted for other in chosen if name in other.functions]
        if len(homes) == 1:
            return homes[0]
    # The name is a class, a constant or a module of the package. The space marks it as used without matching a function's module.
    return f"{near[0].dotted} " if near else ""


def _is_named(dotted: str, module: str) -> bool:
    return dotted == module or dotted.endswith(f".{module}")


def _loaded(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _task(module: Module, name: str, tests: Sequence[Used], n_using: int) -> Task:
    """Build the task of a function. Raises ValueError that says why the function cannot be one."""
    if len(tests) < 2:
        raise ValueError(
            f"{len(tests)} of the {n_using} tests that use it {'uses' if len(tests) == 1 else 'use'} nothing else of the package;"
            " two are needed, one to show and one to score"
        )
    node = module.functions[name]
    if node.decorator_list:
        raise ValueError("it is decorated")
    if foreign := sorted(_foreign(module.tree)):
        raise ValueError(f"its module imports {', '.join(foreign)}, which a test run does not have")
    rest = _without(module.source, node)
    n_public = max(1, len(tests) // TESTS_PER_PUBLIC_TEST)
    return Task(
        id=f"functions/{module.dotted}.{name}",
        domain="python",
        statement=_statement(module, node),
        entry_point=name,
        starter_code=starter_of(module.source, node),
        public=_checks(tests[:n_public], name),
        hidden=_checks(tests[n_public:], name),
        data=rest,
        reference=(ast.get_source_segment(module.source, node) or "") + "\n",
        source="functions",
    )


def _foreign(tree: ast.Module | None) -> set[str]:
    modules = set()
    for node in ast.walk(tree or ast.Module([], [])):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." * node.level + (node.module or "").partition(".")[0])
    return {name for name in modules if name not in sys.stdlib_module_names}


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


def _checks(tests: Sequence[Used], name: str) -> Checks:
    """Return checks made of the tests' modules without their other tests. Raises ValueError for tests that are not supported."""
    from mlx_selfdebug.tasks.own.folder import joined

    made = []
    for module in {test.module.path: test.module for test in tests}.values():
        chosen = [test for test in tests if test.module is module]
        made.append(Checks.from_unittest(ast.unparse(_reduced(module, chosen, name))))
    return joined(made)


def _reduced(module: Module, chosen: Sequence[Used], name: str) -> ast.Module:
    tree = parsed(module.source)
    kept = {(test.of_class.name if test.of_class else "", test.node.name) for test in chosen}
    aliases = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == name and alias.asname
    }
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            body += [node] if ("", node.name) in kept else []
        elif isinstance(node, ast.ClassDef):
            node.body = [
                item for item in node.body if not _is_test(item) or (node.name, getattr(item, "name", "")) in kept
            ]
            body += [node] if any(_is_test(item) for item in node.body) or not node.name.startswith("Test") else []
        else:
            body.append(node)
    return _Renamed(aliases, name).visit(ast.Module(body, []))  # type: ignore[no-any-return]


class _Renamed(ast.NodeTransformer):
    """Replaces the aliases of a function by its own name, as for ``g`` after ``from m import f as g``."""

    def __init__(self, aliases: Iterable[str], name: str) -> None:
        self.aliases, self.name = set(aliases), name

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.name, node.ctx), node) if node.id in self.aliases else node


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test")


def _bugs(task: Task, runner: TestRunner) -> Iterator[Task]:
    domain = domain_of(task.domain)
    # The docstring is dropped because the statement holds it already. A function that returns nothing has no bug worth looking for.
    source = _without_docstring(task.reference)
    drawn = mutants_of(source, task.entry_point, most=MAX_TRIED_MUTANTS, seed=task.id)
    mutants = [mutant for mutant in drawn if mutant.operator != "return"]
    runs = [(mutant, domain.judge(mutant.source, task, task.hidden, runner)) for mutant in mutants]
    caught = [mutant for mutant, run in runs if run.result().outcome in ("failed", "raised")]
    for number, mutant in enumerate(caught[:: max(1, len(caught) // MAX_BUGS)][:MAX_BUGS], 1):
        yield replace(
            task,
            id=f"{task.id.replace('functions/', 'bugs/', 1)}/{number}",
            statement=to_be_mended(mutant.source, task.statement),
            wrong=(mutant.source,),
            source="bugs",
        )


def _without_docstring(source: str) -> str:
    tree = parsed(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"
