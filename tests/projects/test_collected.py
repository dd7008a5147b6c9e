"""A try in which one function is swapped ends as a try that loads the whole project does, and costs no loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.fixing.judging import Proposal
from mlx_selfdebug.projects.source import Function, functions_of, read_source
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, Swap, open_suite
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.repair.edits.candidates import syntax_edits
from mlx_selfdebug.repair.edits.hints import Hints
from tests.projects.made import TESTS, project_at, write_project, write_stats

pytestmark = pytest.mark.slow

LOADS = "with open('loads.txt', 'a') as file:\n    file.write('x')\n"
"""What a module begins with that counts how often it is loaded."""


def function_named(name: str, folder: Path, file: str = "m.py") -> Function:
    return next(function for function in functions_of(read_source(folder, file)) if function.name == name)


def begun(
    suite: Suite, function: Function, program: str, tests: Sequence[str], *, swapped: bool = True
) -> Future[SuiteRun]:
    proposal = Proposal(function, program, "edits")
    return suite.run(tests, {function.file.name: proposal.text}, swap=proposal.swap if swapped else None, stall_s=1)


def run(suite: Suite, function: Function, program: str, tests: Sequence[str]) -> SuiteRun:
    return begun(suite, function, program, tests).result()


def n_loads(suite: Suite) -> int:
    return len((suite.scratch.folder / "loads.txt").read_text())


def outcomes(run: SuiteRun) -> Mapping[str, str]:
    return {id_: test.outcome for id_, test in run.tests.items()}


UNITTESTS = """import unittest

from pkg.stats import Window, mean, median


class StatsTest(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 2, 3]), 2)

    def test_median(self):
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([1, 2]), 1.5)

    def test_window(self):
        self.assertEqual(Window(2).add(1).add(2).add(3).values, [2, 3])
"""


@pytest.mark.parametrize(("framework", "tests"), [("pytest", TESTS), ("unittest", UNITTESTS)])
def test_every_edit_of_every_function_ends_as_with_the_whole_file(framework: str, tests: str, tmp_path: Path) -> None:
    folder = write_stats(tmp_path / "p", **{"tests/test_stats.py": tests, "tests/__init__.py": ""})
    with open_suite(project_at(folder, framework=framework), SuiteLimits(stall_s=3)) as suite:
        ids = list(suite.run(facts=True).result().tests)
        suite.warm([], ids)
        for function in functions_of(read_source(folder, "pkg/stats.py")):
            body = function.program.strip("\n")
            edits = syntax_edits(body, domain_of("python"), Hints())[::20]
            programs = [program for edit in edits if function.spliced(program := edit.applied(body) + "\n")]
            assert programs
            runs = [
                [begun(suite, function, program, ids, swapped=swapped) for swapped in (True, False)]
                for program in programs
            ]
            for program, (quick, whole) in zip(programs, runs, strict=True):
                assert outcomes(quick.result()) == outcomes(whole.result()), program


METHODS = (
    LOADS
    + '''
from functools import lru_cache, wraps


class Base:
    def value(self):
        return 1


def doubled(function):
    @wraps(function)
    def call(*args):
        return 2 * function(*args)

    return call


class Child(Base):
    @property
    def size(self):
        """Return the size."""
        return self.__hidden() + 1

    def __hidden(self):
        return 5

    @staticmethod
    @doubled
    def twice(x):
        return x - 1

    @classmethod
    def made(cls):
        return cls().value() - 1

    def value(self):
        return super().value() + 2

    async def later(self):
        return 7

    def several(self):
        yield from [1, 2]


@lru_cache
def cached(x):
    return [y - 1 for y in range(x)]
'''
)
KINDS = {
    "Child.size": ("self.__hidden() + 1", "self.__hidden() + 2", "assert Child().size == 7"),
    "Child.__hidden": ("return 5", "return 6", "assert Child().size == 7"),
    "Child.twice": ("x - 1", "x + 1", "assert Child.twice(1) == 4"),
    "Child.made": ("- 1", "+ 1", "assert Child.made() == 4"),
    "Child.value": ("+ 2", "+ 4", "assert Child().value() == 5"),
    "Child.later": ("return 7", "return 8", "import asyncio; assert asyncio.run(Child().later()) == 8"),
    "Child.several": ("[1, 2]", "[1, 3]", "assert list(Child().several()) == [1, 3]"),
    "cached": ("y - 1", "y + 1", "assert cached(1) == [1]"),
}


@pytest.mark.parametrize("name", KINDS)
def test_functions_of_all_kinds_are_swapped_without_loading_the_project_again(name: str, tmp_path: Path) -> None:
    old, new, check = KINDS[name]
    tests = f"from m import Child, cached\n\ndef test_it():\n    {check}\n"
    folder = write_project(tmp_path / "p", {"m.py": METHODS, "test_m.py": tests})
    with open_suite(project_at(folder)) as suite:
        ids = suite.run(facts=True).result().failed()
        assert ids
        suite.warm([], ids)
        before = n_loads(suite)
        function = function_named(name, folder)
        assert run(suite, function, function.program.replace(old, new), ids).count("passed") == 1
        assert run(suite, function, function.program, ids).count("failed") == 1
        assert n_loads(suite) == before


CALLED = LOADS + "\n\ndef table(n):\n    return [n] * 3\n\n\nTABLE = table(1)\n\n\ndef size(x=2):\n    return x\n"


@pytest.mark.parametrize(
    ("name", "old", "new", "check"),
    [
        ("table", "[n] * 3", "[n] * 4", "assert m.TABLE == [1] * 4"),  # what was computed while loading depends on it
        ("size", "x=2", "x=3", "assert m.size() == 3"),  # defaults are a part of the loaded function
        ("size", "def size", "@(lambda f: lambda: 3)\ndef size", "assert m.size() == 3"),
    ],
)
def test_where_a_swap_would_not_do_the_project_is_loaded_again(
    name: str, old: str, new: str, check: str, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "p", {"m.py": CALLED, "test_m.py": f"import m\n\ndef test_it():\n    {check}\n"})
    with open_suite(project_at(folder)) as suite:
        ids = suite.run(facts=True).result().failed()
        suite.warm([], ids)
        before = n_loads(suite)
        function = function_named(name, folder)
        assert run(suite, function, function.program.replace(old, new), ids).count("passed") == 1
        assert n_loads(suite) == before + 1


SMALL = "def double(x):\n    return x + x + 1\n"


def double_project(folder: Path, before: str = "") -> Path:
    tests = f"{before}\nfrom m import double\n\ndef test_it():\n    assert double(3) == 6\n"
    return write_project(folder, {"m.py": LOADS + SMALL, "test_m.py": tests})


@pytest.mark.parametrize(
    "body",
    [
        "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
        "import os; os._exit(0)",
        "while True: pass",
        "raise SystemExit",
    ],
)
def test_a_try_that_ends_or_hangs_the_processes_around_it_fails_and_the_next_is_served(
    body: str, tmp_path: Path
) -> None:
    folder = double_project(tmp_path / "p")
    with open_suite(project_at(folder), SuiteLimits(stall_s=3)) as suite:
        ids = suite.run(facts=True).result().failed()
        suite.warm([], ids)
        function = function_named("double", folder)
        bad = function.program.replace("return x + x + 1", body)
        good = function.program.replace("x + x + 1", "x + x")
        assert run(suite, function, bad, ids).count("passed") == 0
        assert run(suite, function, good, ids).count("passed") == 1


def test_a_project_that_starts_threads_is_loaded_for_every_try(tmp_path: Path) -> None:
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    folder = double_project(tmp_path / "p", thread)
    with open_suite(project_at(folder)) as suite:
        ids = suite.run(facts=True).result().failed()
        suite.warm([], ids)
        before = n_loads(suite)
        function = function_named("double", folder)
        assert run(suite, function, function.program.replace("x + x + 1", "x + x"), ids).count("passed") == 1
        assert n_loads(suite) == before + 1


def test_many_tries_at_once_all_answer_with_their_own_function(tmp_path: Path) -> None:
    folder = double_project(tmp_path / "p")
    with open_suite(project_at(folder)) as suite:
        ids = suite.run(facts=True).result().failed()
        suite.warm([], ids)
        before = n_loads(suite)
        function = function_named("double", folder)
        programs = [function.program.replace("+ 1", f"+ {n % 3}") for n in range(30)]
        futures = [begun(suite, function, program, ids) for program in programs]
        assert [future.result().count("passed") for future in futures] == [int(n % 3 == 0) for n in range(30)]
        assert n_loads(suite) == before


def test_some_of_the_collected_tests_run_alone_and_with_their_facts(tmp_path: Path) -> None:
    folder = write_stats(tmp_path / "p")
    with open_suite(project_at(folder)) as suite:
        ids = list(suite.run(facts=True).result().tests)
        suite.warm([], ["tests/test_stats.py"])
        function = function_named("median", folder, "pkg/stats.py")
        wrong = function.program.replace("n % 2 == 1", "n % 2 == 0")
        files, some = {"pkg/stats.py": str(function.spliced(wrong))}, [id_ for id_ in ids if "median" in id_][1:]
        run = suite.run(some, files, swap=Swap.to(function, wrong), facts=True).result()
        assert list(run.tests) == some
        facts = run.tests[some[0]].facts
        assert facts is not None
        assert (facts.op, facts.left, facts.right) == ("==", "3", "2.5")


def test_tests_that_were_not_collected_are_run_all_the_same(tmp_path: Path) -> None:
    folder = double_project(tmp_path / "p")
    write_project(folder, {"test_more.py": "from m import double\n\ndef test_more():\n    assert double(1) == 2\n"})
    with open_suite(project_at(folder)) as suite:
        suite.warm([], ["test_m.py"])
        function = function_named("double", folder)
        program = function.program.replace("+ 1", "")
        assert run(suite, function, program, ["test_more.py::test_more"]).count("passed") == 1
        before = n_loads(suite)
        assert run(suite, function, program, ["test_m.py::test_it"]).count("passed") == 1
        assert n_loads(suite) == before
