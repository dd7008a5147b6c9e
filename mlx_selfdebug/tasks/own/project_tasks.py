"""Make tasks of the functions and methods of a project that its own test suite runs, whatever they and the tests need.

1. The suite is run twice, confined, in the project's own interpreter: first for the facts of each test, then to record which lines
   each test runs. Only tests that pass both times can judge.
2. For each function that at least two such tests run, these tests are run without the others. Then they are run once more, with a
   function body that does nothing.
3. The function becomes a task if at least two tests pass without the others and fail on the body that does nothing.

The domain ``project`` judges such tasks. ``functions.py`` calls ``project_tasks`` for functions whose tests it cannot translate.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.project import checks_of, kept_suite
from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.projects.command import TestCommand
from mlx_selfdebug.projects.facts import source_of_tests
from mlx_selfdebug.projects.place import Place
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function, SourceFile, functions_of, read_source
from mlx_selfdebug.projects.suite import Swap
from mlx_selfdebug.projects.suite_run import PASSED, SuiteRun, TestResult
from mlx_selfdebug.projects.warm import WarmSuite
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.tasks.own.source import is_test_file, python_files
from mlx_selfdebug.values.task import Task

MAX_TESTS = 30
"""The largest number of tests that judge one function. If more tests run it, those that run the least code are taken."""
TESTS_PER_PUBLIC_TEST = 3
"""One of this many tests of a function is public."""
MAX_SHOWN_TESTS = 3
"""The largest number of public test functions whose source is shown."""
MAX_SHOWN_STATEMENTS = 12
"""The largest number of statements of a test function that are shown."""
MAX_INIT_LINES = 12
"""The largest number of lines of an ``__init__`` that is shown with a method of its class."""
NO_DOCSTRING = "Write this {kind} so that its tests pass."
"""The statement of a task whose function or method has no docstring."""
SLOWDOWN = 4.0
"""How many times longer the tests may take on a body that does nothing than they did on the function."""
MIN_S = 3.0
"""The seconds that tests may take on a body that does nothing, however fast they were on the function."""
TRACED_SLOWDOWN, TRACED_EXTRA_S = 20, 30.0
"""How many times longer the whole suite may take while the lines are recorded, and the seconds that are added to that."""
NEEDED_TESTS = "two are needed, one to show and one to score"
"""The end of several reasons why a function is no task."""
_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "ascii"})
"""The encodings of files whose functions can be tasks, as ``tokenize.detect_encoding`` names them."""

TestKey = tuple[str, str]
"""The path of a test's file, and the name of the test with those of its classes: ``("tests/test_a.py", "TestA.test_b")``.

All cases of a parametrized test have the same key.
"""


@dataclass
class SuiteTasks:
    """The tasks that a project's own suite can judge, and why functions and tests of the project are not part of any."""

    tasks: list[Task] = field(default_factory=list)
    functions: dict[str, str] = field(default_factory=dict)
    """The reasons why functions that tests run are no tasks, by their names."""
    tests: dict[TestKey, str] = field(default_factory=dict)
    """The reasons why tests cannot judge."""
    passing: set[TestKey] = field(default_factory=set)
    """The tests that can judge."""
    used: set[TestKey] = field(default_factory=set)
    """The tests that are part of a task."""
    files: dict[str, str] = field(default_factory=dict)
    """The reasons why files cannot be read or collected, by their paths."""
    problem: str = ""
    """The reason why the suite, or a part of it, was not used, or an empty string."""


@dataclass
class _Candidate:
    """A function that may become a task."""

    name: str
    """The path of the module from the folder of the tasks, with dots, and the qualified name of the function."""
    function: Function
    tests: list[str]
    """The ids of the tests that are to judge the function. Tests that do not pass without the others are dropped."""
    seconds: float = 0.0
    """The time that ``tests`` took without the others, loading the project included."""
    noticing: frozenset[str] = frozenset()
    """The ids of those among ``tests`` that fail if the function does nothing."""


def project_tasks(folder: Path, runner: TestRunner, taken: Collection[str]) -> SuiteTasks:
    """Return the tasks that the suite of a project can judge.

    Args:
        folder: The project, or a folder inside it to whose functions the tasks are limited. If the folder has tests, only they run.
        runner: The test runner that keeps the project's suite open.
        taken: The names of functions that are tasks already. A name is the path of the module from ``folder``, with dots, and the
            qualified name of the function.

    If the suite cannot be run, nothing is raised: ``SuiteTasks.problem`` says why.
    """
    folder = folder.resolve()
    result = SuiteTasks()
    try:
        project = Project.find([folder])
    except UsageError as error:
        result.problem = _no_tasks(error)
        return result
    files = []
    for name in project.sources():
        try:
            files.append(read_source(project.root, name))
        except UsageError as error:
            result.files[name] = str(error)
    if not [name for file in files for name in _functions_by_name(file, project, folder) if name not in taken]:
        return result
    try:
        warm = kept_suite(Project(project.root, project.python, TestCommand("pytest")), runner)
        _Search(folder, project, warm, files, taken, result).run()
    except (UsageError, SandboxError) as error:
        result.problem = _no_tasks(error)
    return result


def _no_tasks(error: UsageError | SandboxError) -> str:
    """Return ``SuiteTasks.problem`` for an error that keeps the suite from being run."""
    hint = f" ({error.hint})" if error.hint else ""
    return f"functions that need more than the standard library are no tasks: {error}{hint}"


def _functions_by_name(file: SourceFile, project: Project, folder: Path) -> dict[str, Function]:
    """Return the functions of a file by their dotted names (``_Candidate.name``). If a name is defined twice, the last counts."""
    path = (project.root / file.name).relative_to(folder).with_suffix("")
    dotted = ".".join(path.parts).removesuffix(".__init__")
    return {f"{dotted}.{function.name}": function for function in functions_of(file)}


class _Search:
    """Searches a project for functions that its suite can judge, and writes what it finds into ``result``."""

    def __init__(
        self,
        folder: Path,
        project: Project,
        warm: WarmSuite,
        files: Sequence[SourceFile],
        taken: Collection[str],
        result: SuiteTasks,
    ) -> None:
        self._folder, self._project, self._warm, self._taken = folder, project, warm, taken
        self._files, self._result = files, result

    def run(self) -> None:
        """Search the project. Raises UsageError if no test passes, and what ``Suite.warm`` raises if the suite cannot be run."""
        first, traced = self._run_twice()
        passing = self._passing(first, traced)
        self._result.passing = {_key_of(id_) for id_ in passing}
        candidates = [c for file in self._files for c in self._candidates(file, passing, traced)]
        if not candidates:
            return
        one_test_by_file = {_file_of(id_): id_ for candidate in candidates for id_ in candidate.tests}
        test_files = sorted(one_test_by_file)
        self._warm.prepare(test_files, list(one_test_by_file.values()), known=first)
        for candidate in self._noticing(self._passing_alone(candidates)):
            self._result.tasks.append(self._task(candidate, test_files, first))
            self._result.used |= {_key_of(id_) for id_ in candidate.tests}

    def _run_twice(self) -> tuple[SuiteRun, SuiteRun]:
        """Return a run of the whole suite with facts, and a traced one. Raises UsageError if no test passes."""
        suite, root = self._warm.suite, self._project.root
        inside = str(self._folder.relative_to(root))
        has_tests = any(is_test_file(path.name) for path in python_files(self._folder))
        tests = [inside] if self._folder != root and has_tests else []
        first = suite.run(tests, facts=True).result()
        if not any(test.outcome == PASSED for test in first.tests.values()):
            raise UsageError(_why_nothing_passed(first, root))
        if first.ending != "ended":
            self._result.problem = (
                f"the project's own tests were ended after {first.wall_s:.0f} s ({first.ending}); "
                "functions that only the tests after that run are no tasks"
            )
        trace = [file.name for file in self._files]
        wall_s = TRACED_EXTRA_S + TRACED_SLOWDOWN * first.wall_s
        return first, suite.run(tests, trace=trace, wall_s=wall_s).result()

    def _passing(self, first: SuiteRun, traced: SuiteRun) -> list[str]:
        """Return the ids of the tests that can judge, and note why the others cannot."""
        passing = []
        for id_, test in first.tests.items():
            reason = _why_it_cannot_judge(test, id_, first, traced)
            if not reason:
                passing.append(id_)
            elif test.collecting:
                self._result.files[id_] = reason
            else:
                self._result.tests[_key_of(id_)] = reason
        return passing

    def _candidates(self, file: SourceFile, passing: Sequence[str], traced: SuiteRun) -> Iterator[_Candidate]:
        """Yield the functions of a file that at least two tests run, and note why others cannot become tasks."""
        path = str(self._warm.suite.seen / file.name)
        counts = Counter(function.name for function in functions_of(file))
        repeated = {name for name, n in counts.items() if n > 1}
        for name, function in _functions_by_name(file, self._project, self._folder).items():
            body = function.body_lines.keys()
            tests = [id_ for id_ in passing if body & traced.lines.get(id_, {}).get(path, frozenset())]
            if name in self._taken or not tests:
                continue
            reason = _why_unfit(function, repeated)
            if not reason and len(tests) < 2:
                reason = f"1 of the project's tests runs it and passes; {NEEDED_TESTS}"
            if reason:
                self._result.functions[name] = reason
            else:
                yield _Candidate(name, function, _with_least_code(tests, traced))

    def _passing_alone(self, candidates: Sequence[_Candidate]) -> Iterator[tuple[_Candidate, Future[SuiteRun]]]:
        """Yield the candidates with at least two tests that pass without the other tests, each with a run that has begun.

        In that run, the function does nothing. Runs are begun before others have ended, so that several are under way at a time.
        """
        runs = [self._warm.run(c.tests, {c.function.file.name: c.function.file.text}) for c in candidates]
        begun: list[tuple[_Candidate, Future[SuiteRun]]] = []
        for candidate, run in zip(candidates, runs, strict=True):
            result = run.result()
            candidate.tests = [id_ for id_ in candidate.tests if result.passed(id_)]
            candidate.seconds = round(result.wall_s, 3)
            if len(candidate.tests) >= 2:
                begun.append((candidate, self._run_doing_nothing(candidate)))
            else:
                reason = f"fewer than two of its tests pass by themselves; {NEEDED_TESTS}"
                self._result.functions[candidate.name] = reason
        yield from begun

    def _noticing(self, begun: Iterable[tuple[_Candidate, Future[SuiteRun]]]) -> Iterator[_Candidate]:
        """Yield the candidates with at least two tests that fail in their run, in which the function does nothing."""
        for candidate, run in begun:
            result = run.result()
            candidate.noticing = frozenset(id_ for id_ in candidate.tests if not result.passed(id_))
            if len(candidate.noticing) >= 2:
                yield candidate
            else:
                fail = "1 fails" if candidate.noticing else "none fails"
                of = f"of the {len(candidate.tests)} tests that run it"
                self._result.functions[candidate.name] = f"{of}, {fail} if it does nothing; {NEEDED_TESTS}"

    def _run_doing_nothing(self, candidate: _Candidate) -> Future[SuiteRun]:
        """Begin a run of a candidate's tests with a body that does nothing."""
        function, wall_s = candidate.function, max(MIN_S, SLOWDOWN * candidate.seconds)
        program = domain_of("project").nothing(Task("", "project", "", "", function.signature))
        placed = function.placed(program)
        assert placed is not None
        files, swap = {function.file.name: placed.text}, Swap.to(function, program)
        return self._warm.run(candidate.tests, files, swap=swap, wall_s=wall_s, stall_s=wall_s)

    def _task(self, candidate: _Candidate, test_files: Sequence[str], first: SuiteRun) -> Task:
        """Return the task of a candidate. ``test_files`` are loaded together to judge it, and ``first`` is a run with facts."""
        function, project = candidate.function, self._project
        public = _public_tests(candidate)
        place = Place(
            root=str(project.root),
            python=project.python,
            file=function.file.name,
            function=function.name,
            tests=tuple(test_files),
            seconds=candidate.seconds,
        )
        shown = source_of_tests(
            [first.tests[id_] for id_ in public],
            self._warm.suite.seen,
            max_tests=MAX_SHOWN_TESTS,
            max_statements=MAX_SHOWN_STATEMENTS,
        )
        return Task(
            id=f"functions/{candidate.name}",
            domain="project",
            statement=_statement(function),
            entry_point=function.entry_point,
            starter_code=function.signature,
            public=checks_of(public, shown),
            hidden=checks_of([id_ for id_ in candidate.tests if id_ not in public]),
            data=place.to_json(),
            reference=function.program,
            source="functions",
        )


def _why_it_cannot_judge(test: TestResult, id_: str, first: SuiteRun, traced: SuiteRun) -> str:
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


def _why_nothing_passed(run: SuiteRun, root: Path) -> str:
    """Return why no test passed in a run: the first failure, or the last line of what the framework said."""
    failed = run.failed()
    if failed:
        facts = run.tests[failed[0]].facts
        why = f"{facts.type}: {facts.message.splitlines()[0]}" if facts and facts.message else "it fails"
        return f"no test of {root} passes; {failed[0]}: {why}"
    lines = [line for line in (run.broken or run.output).strip().splitlines() if line.strip()]
    return f"pytest finds no tests in {root}" + (f": {lines[-1]}" if lines else "")


def _why_unfit(function: Function, repeated: Collection[str]) -> str:
    """Return why a function cannot become a task whatever its tests are, or an empty string if it can.

    ``repeated`` are the names that its file defines more than once.
    """
    if function.name in repeated:
        return "it is defined more than once in its file"
    if any(not header.lstrip().startswith("class ") for header in function.headers):
        return "it stands in an if, try or with"
    if function.file.encoding not in _ENCODINGS:
        return f"its file is in {function.file.encoding}, not in UTF-8"
    return ""


def _with_least_code(tests: Sequence[str], traced: SuiteRun) -> list[str]:
    """Return the ``MAX_TESTS`` tests that run the fewest lines of the project, in the order in which they were given."""
    n_lines = {id_: sum(map(len, traced.lines.get(id_, {}).values())) for id_ in tests}
    chosen = set(sorted(tests, key=lambda id_: (n_lines[id_], id_))[:MAX_TESTS])
    return [id_ for id_ in tests if id_ in chosen]


def _public_tests(candidate: _Candidate) -> list[str]:
    """Return the ids of a third of the tests: a third of those that notice if the function does nothing, and a third of the others.

    At least one test that notices is public, and at least one scores.
    """
    noticing = [id_ for id_ in candidate.tests if id_ in candidate.noticing]
    others = [id_ for id_ in candidate.tests if id_ not in candidate.noticing]
    n = TESTS_PER_PUBLIC_TEST
    return [*noticing[: max(1, len(noticing) // n)], *others[: len(others) // n]]


def _file_of(id_: str) -> str:
    return id_.partition("::")[0]


def _key_of(id_: str) -> TestKey:
    """Return the key of a test with this id of pytest. ``functions.py`` finds the same keys by reading the tests' sources."""
    file, _, name = id_.partition("[")[0].partition("::")
    return file, name.replace("::", ".")


def _statement(function: Function) -> str:
    """Return the docstring of a function, and the signatures of what it uses of its own file."""
    kind = "method" if function.headers else "function"
    text = function.description.strip() or NO_DOCSTRING.format(kind=kind)
    signatures = "\n".join(_used_signatures(function))
    return f"{text}\n\nThese are there:\n\n```python\n{signatures}\n```" if signatures else text


def _used_signatures(function: Function) -> Iterator[str]:
    """Yield the signatures of the functions of its file, and of the methods of its class, that a function uses.

    For a method, the whole ``__init__`` of its class is yielded too, if it is short.
    """
    nodes = list(ast.walk(function.node))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    own_attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_self(node.value)}
    class_name = function.name.rpartition(".")[0]
    # Of a function that is defined several times, the last definition counts.
    for other in {other.name: other for other in functions_of(function.file)}.values():
        other_class, _, other_name = other.name.rpartition(".")
        if other.name == function.name or other_class not in ("", class_name):
            continue
        if other_class and other_name == "__init__" and len(other.lines) <= MAX_INIT_LINES:
            yield other.program.rstrip()
        elif other_name in (own_attributes if other_class else names):
            yield f"{other.signature} ..."


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
