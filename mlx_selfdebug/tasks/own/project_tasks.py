"""Make tasks of the functions and methods of a project that its own test suite runs, whatever they and the tests need.

The suite is run twice, confined, in the project's own interpreter: once for the facts, once to see which lines each test runs. A
function becomes a task if at least two tests run it and pass, also by themselves, and fail once its body does nothing. The domain
``project`` judges such tasks.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.project import checks_of, kept_suite
from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.projects.facts import source_of_tests
from mlx_selfdebug.projects.place import Place
from mlx_selfdebug.projects.project import Project, TestCommand
from mlx_selfdebug.projects.source import Function, SourceFile, functions_of, read_source
from mlx_selfdebug.projects.suite import Swap
from mlx_selfdebug.projects.suite_run import PASSED, SuiteRun, TestResult
from mlx_selfdebug.projects.warm import WarmSuite
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.tasks.own.source import is_test_file
from mlx_selfdebug.values.task import Task

MAX_TESTS = 30
"""The largest number of tests that judge one function: those that run the fewest other functions."""
TESTS_PER_PUBLIC_TEST = 3
"""One of this many tests of a function is public."""
MAX_SHOWN_TESTS = 3
"""The number of public test functions whose source is shown."""
MAX_SHOWN_STATEMENTS = 12
"""The number of statements that are shown of each."""
MAX_INIT_LINES = 12
"""The largest ``__init__`` that is shown with a method, in lines."""
NO_DOCSTRING = "Write this {kind} so that its tests pass."
SLOWDOWN = 4.0
"""A body that does nothing may take four times as long as the function did."""
MIN_S = 3.0
LEAST_TESTS = "two are needed, one to show and one to score"
_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "ascii"})


@dataclass
class Found:
    """What a project's own suite has shown."""

    tasks: list[Task] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)
    """Why functions that tests run are no tasks, by their names."""
    tests: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why tests judge nothing, by the path of the file and the name of the test."""
    passing: set[tuple[str, str]] = field(default_factory=set)
    """The tests that could judge."""
    used: set[tuple[str, str]] = field(default_factory=set)
    """Those that are part of a task."""
    files: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    """Why the suite, or a part of it, was not used, or an empty string."""


@dataclass
class _Possible:
    """A function that may become a task, and the tests that run it."""

    name: str
    function: Function
    tests: list[str]
    seconds: float = 0.0
    doing_nothing: SuiteRun = field(default_factory=lambda: SuiteRun("ended", {}))
    """The run of these tests on a body that does nothing."""
    noticing: frozenset[str] = frozenset()
    """The tests that fail if the function does nothing."""


def project_tasks(folder: Path, runner: TestRunner, taken: Collection[str]) -> Found:
    """Return the tasks that the suite of the project at ``folder`` can judge, without the functions named in ``taken``.

    A function is named by its module's path from ``folder`` with dots, and its own qualified name.
    """
    folder = folder.resolve()
    found = Found()
    project = Project.find([folder])
    files = _files(project, found)
    if not [name for file in files for name in _named(file, project, folder) if name not in taken]:
        return found
    try:
        warm = kept_suite(Project(project.root, project.python, TestCommand("pytest")), runner)
        _Search(folder, project, warm, files, taken, found).run()
    except (UsageError, SandboxError) as error:
        hint = f" ({error.hint})" if error.hint else ""
        found.problem = f"functions that need more than the standard library are no tasks: {error}{hint}"
    return found


def _files(project: Project, found: Found) -> list[SourceFile]:
    files = []
    for name in project.sources():
        try:
            files.append(read_source(project.root, name))
        except UsageError as error:
            found.files[name] = str(error)
    return files


def _named(file: SourceFile, project: Project, folder: Path) -> dict[str, Function]:
    """Return the functions of a file by their names within ``folder``. One that is defined twice is named once."""
    path = (project.root / file.name).relative_to(folder).with_suffix("")
    dotted = ".".join(path.parts).removesuffix(".__init__")
    return {f"{dotted}.{function.name}": function for function in functions_of(file)}


class _Search:
    """The search for functions that the suite can judge."""

    def __init__(
        self,
        folder: Path,
        project: Project,
        warm: WarmSuite,
        files: Sequence[SourceFile],
        taken: Collection[str],
        found: Found,
    ) -> None:
        self._folder, self._project, self._warm, self._taken, self._found = folder, project, warm, taken, found
        self._files = files

    def run(self) -> None:
        first, traced = self._runs()
        passing = self._passing(first, traced)
        self._found.passing = {_label_of(id_) for id_ in passing}
        possible = [item for file in self._files for item in self._of_file(file, passing, traced)]
        if not possible:
            return
        files = sorted({_file_of(id_) for item in possible for id_ in item.tests})
        one_of_each = {_file_of(id_): id_ for item in possible for id_ in item.tests}
        self._warm.prepare(files, list(one_of_each.values()), known=first)
        for item in self._sound(possible):
            self._found.tasks.append(self._task(item, files, first))
            self._found.used |= {_label_of(id_) for id_ in item.tests}

    def _runs(self) -> tuple[SuiteRun, SuiteRun]:
        """Run the whole suite twice. Raises UsageError if it shows nothing."""
        suite, root = self._warm.suite, self._project.root
        inside = str(self._folder.relative_to(root))
        has_tests = any(is_test_file(path.name) for path in self._folder.rglob("*.py"))
        tests = [inside] if self._folder != root and has_tests else []
        first = suite.run(tests, facts=True).result()
        if not any(test.outcome == PASSED for test in first.tests.values()):
            raise UsageError(_nothing_passed(first, root))
        if first.ending != "ended":
            self._found.problem = (
                f"the project's own tests were ended after {first.wall_s:.0f} s ({first.ending}); "
                "functions that only the tests after that run are no tasks"
            )
        trace = [file.name for file in self._files]
        return first, suite.run(tests, trace=trace, wall_s=30 + 20 * first.wall_s).result()

    def _passing(self, first: SuiteRun, traced: SuiteRun) -> list[str]:
        """Return the tests that can judge, and note why the others cannot."""
        passing = []
        for id_, test in first.tests.items():
            reason = _why_not(test, id_, first, traced)
            if not reason:
                passing.append(id_)
            elif test.collecting:
                self._found.files[id_] = reason
            else:
                self._found.tests[_label_of(id_)] = reason
        return passing

    def _of_file(self, file: SourceFile, passing: Sequence[str], traced: SuiteRun) -> Iterator[_Possible]:
        """Yield the functions of a file that may become tasks, and note why others do not."""
        path = str(self._warm.suite.seen / file.name)
        twice = {name for name, n in Counter(function.name for function in functions_of(file)).items() if n > 1}
        for name, function in _named(file, self._project, self._folder).items():
            body = function.body_lines.keys()
            tests = [id_ for id_ in passing if body & traced.lines.get(id_, {}).get(path, frozenset())]
            if name in self._taken or not tests:
                continue
            reason = _unfit(function, twice)
            if not reason and len(tests) < 2:
                reason = f"1 of the project's tests runs it and passes; {LEAST_TESTS}"
            if reason:
                self._found.functions[name] = reason
            else:
                yield _Possible(name, function, _nearest(tests, traced))

    def _sound(self, possible: Sequence[_Possible]) -> Iterator[_Possible]:
        """Yield those whose tests pass by themselves and notice if the function does nothing. Note why the others do not."""
        for item in self._by_themselves(possible):
            item.noticing = frozenset(id_ for id_ in item.tests if not item.doing_nothing.passed(id_))
            if len(item.noticing) >= 2:
                yield item
            else:
                fail = "1 fails" if item.noticing else "none fails"
                of = f"of the {len(item.tests)} tests that run it"
                self._found.functions[item.name] = f"{of}, {fail} if it does nothing; {LEAST_TESTS}"

    def _by_themselves(self, possible: Sequence[_Possible]) -> Iterator[_Possible]:
        """Yield those of which two tests pass without the other tests, with a run in which the function does nothing."""
        alone = [self._warm.run(item.tests, {item.function.file.name: item.function.file.text}) for item in possible]
        begun: list[tuple[_Possible, Future[SuiteRun]]] = []
        for item, run in zip(possible, alone, strict=True):
            result = run.result()
            item.tests = [id_ for id_ in item.tests if result.passed(id_)]
            item.seconds = round(result.wall_s, 3)
            if len(item.tests) >= 2:
                begun.append((item, self._doing_nothing(item)))
            else:
                self._found.functions[item.name] = f"fewer than two of its tests pass by themselves; {LEAST_TESTS}"
        for item, run in begun:
            item.doing_nothing = run.result()
            yield item

    def _doing_nothing(self, item: _Possible) -> Future[SuiteRun]:
        function, wall_s = item.function, max(MIN_S, SLOWDOWN * item.seconds)
        program = domain_of("project").nothing(Task("", "project", "", "", function.signature))
        placed = function.placed(program)
        assert placed is not None
        files, swap = {function.file.name: placed.text}, Swap.to(function, program)
        return self._warm.run(item.tests, files, swap=swap, wall_s=wall_s, stall_s=wall_s)

    def _task(self, item: _Possible, files: Sequence[str], first: SuiteRun) -> Task:
        function, project = item.function, self._project
        public = _public(item)
        place = Place(str(project.root), project.python, function.file.name, function.name, tuple(files), item.seconds)
        shown = source_of_tests(
            [first.tests[id_] for id_ in public], self._warm.suite.seen,
            max_tests=MAX_SHOWN_TESTS, max_statements=MAX_SHOWN_STATEMENTS,
        )  # fmt: skip
        return Task(
            id=f"functions/{item.name}",
            domain="project",
            statement=_statement(function),
            entry_point=function.entry_point,
            starter_code=function.signature,
            public=checks_of(public, shown),
            hidden=checks_of([id_ for id_ in item.tests if id_ not in public]),
            data=place.to_json(),
            reference=function.program,
            source="functions",
        )


def _why_not(test: TestResult, id_: str, first: SuiteRun, traced: SuiteRun) -> str:
    """Return why a test cannot judge a function, or an empty string if it can."""
    facts = test.facts
    said = f": {facts.type}: {facts.message.splitlines()[0]}" if facts and facts.message else ""
    if test.collecting:
        return f"pytest cannot collect it{said}"
    if test.outcome != PASSED:
        return f"it fails before anything is changed{said}" if test.outcome == "failed" else "it is skipped"
    if id_ in first.spawning:
        return "it starts other programs, which would not see an answer"
    if id_ not in traced.tests:
        return "it was not there when the tests were run again"
    return "" if traced.passed(id_) else "it passed, but failed when the tests were run again: it is flaky"


def _nothing_passed(run: SuiteRun, root: Path) -> str:
    failed = run.failed()
    if failed:
        facts = run.tests[failed[0]].facts
        why = f"{facts.type}: {facts.message.splitlines()[0]}" if facts and facts.message else "it fails"
        return f"no test of {root} passes; {failed[0]}: {why}"
    lines = [line for line in (run.broken or run.output).strip().splitlines() if line.strip()]
    return f"pytest finds no tests in {root}" + (f": {lines[-1]}" if lines else "")


def _unfit(function: Function, twice: Collection[str]) -> str:
    """Return why no task can be made of a function whatever its tests are, or an empty string."""
    if function.name in twice:
        return "it is defined more than once in its file"
    if any(not header.lstrip().startswith("class ") for header in function.headers):
        return "it stands in an if, try or with"
    if function.file.encoding not in _ENCODINGS:
        return f"its file is in {function.file.encoding}, not in UTF-8"
    return ""


def _nearest(tests: Sequence[str], traced: SuiteRun) -> list[str]:
    """Return the tests to judge by, in their order: if there are too many, those that run the fewest lines."""
    lines = {id_: sum(map(len, traced.lines.get(id_, {}).values())) for id_ in tests}
    nearest = set(sorted(tests, key=lambda id_: (lines[id_], id_))[:MAX_TESTS])
    return [id_ for id_ in tests if id_ in nearest]


def _public(item: _Possible) -> list[str]:
    """Return the public tests: the first third of those that notice if the function does nothing, and of the others."""
    noticing = [id_ for id_ in item.tests if id_ in item.noticing]
    others = [id_ for id_ in item.tests if id_ not in item.noticing]
    n = TESTS_PER_PUBLIC_TEST
    return [*noticing[: max(1, len(noticing) // n)], *others[: len(others) // n]]


def _file_of(id_: str) -> str:
    return id_.partition("::")[0]


def _label_of(id_: str) -> tuple[str, str]:
    """Return the file of a test and its name, as tests are named where they are read without being run."""
    file, _, name = id_.partition("[")[0].partition("::")
    return file, name.replace("::", ".")


def _statement(function: Function) -> str:
    """Return the docstring, and the first lines of what the function uses of its own file."""
    kind = "method" if function.headers else "function"
    text = function.description.strip() or NO_DOCSTRING.format(kind=kind)
    there = "\n".join(_used(function))
    return f"{text}\n\nThese are there:\n\n```python\n{there}\n```" if there else text


def _used(function: Function) -> Iterator[str]:
    """Yield the first lines of the functions and methods of the same file that a function uses, and its class's ``__init__``."""
    nodes = list(ast.walk(function.node))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_self(node.value)}
    owner = function.name.rpartition(".")[0]
    for other in _by_name(function.file).values():
        home, _, name = other.name.rpartition(".")
        if other.name == function.name or home != (owner if home else ""):
            continue
        if home and name == "__init__" and len(other.lines) <= MAX_INIT_LINES:
            yield other.program.rstrip()
        elif name in (own if home else names):
            yield f"{other.signature} ..."


def _by_name(file: SourceFile) -> Mapping[str, Function]:
    return {function.name: function for function in functions_of(file)}


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
