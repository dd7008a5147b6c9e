"""Keep the suite of a project ready for many tries of many functions.

    with open_warm_suite(project) as warm:
        warm.prepare(["tests/test_prices.py"], ["tests/test_prices.py::test_total"])
        warm.run(tests, {"shop/prices.py": text}, swap=swap).result()

The suite is kept warm in two steps: one process has imported the packages that the tests need, and another has also loaded the
project and collected its tests. A try that changes nothing but the body of one function forks from the second
(``suite_server/swapping.py``), and any other try forks from the first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function, functions_of, read_source
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, Swap, open_suite
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.sandbox.isolation import Level


class WarmSuite:
    """The suite of a project, and the project's functions as they were when it was opened. Any thread may use it."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._files: frozenset[str] = frozenset()
        """The files of tests for which the project has been loaded."""
        self._functions: dict[str, dict[str, Function]] = {}
        """The functions of each file that was read, by their qualified names."""
        self._under_way: set[Future[SuiteRun]] = set()
        self._lock = threading.RLock()

    def prepare(self, files: Sequence[str], tests: Sequence[str], known: SuiteRun | None = None) -> None:
        """Load the project for the tests in some files, unless that has been done. Waits for the runs that are under way.

        A suite whose tests no longer pass once the project is loaded beforehand is not kept warm: each try then loads everything.

        Args:
            files: The paths of the files of tests, relative to the project's folder.
            tests: The ids of some tests in these files, all of which pass on the unchanged project.
            known: A run of these tests with facts, which spares another one.
        """
        with self._lock:
            if self._files.issuperset(files):
                return
            wait(self._under_way)
            self._files |= set(files)
            run = known or self.suite.run(tests, facts=True).result()
            # The modules of the project itself are not imported beforehand, since tries replace them.
            modules = [name for name, path in run.modules.items() if self.suite.relative(path) is None]
            self.suite.warm(modules, sorted(self._files))
            warm_run = self.suite.run(tests).result()
            if not all(warm_run.passed(id_) for id_ in tests):
                self.suite.warm([])

    def function(self, file: str, name: str) -> Function:
        """Return the function of this qualified name in a file of the project.

        Raises UsageError if the file has no such function or cannot be decoded.
        """
        with self._lock:
            if file not in self._functions:
                source = read_source(self.suite.scratch.folder, file)
                self._functions[file] = {function.name: function for function in functions_of(source)}
        if name not in self._functions[file]:
            raise UsageError(
                f"{self.suite.project.root / file} has no function {name!r} any more",
                hint="make the tasks of the project again: functions:FOLDER",
            )
        return self._functions[file][name]

    def run(
        self,
        tests: Sequence[str],
        files: Mapping[str, str],
        *,
        swap: Swap | None = None,
        stop_at_first_failure: bool = False,
        facts: bool = False,
        trace: Sequence[str] = (),
        wall_s: float | None = None,
        stall_s: float | None = None,
    ) -> Future[SuiteRun]:
        """Begin a run of ``tests`` and return its future result. The arguments are those of ``Suite.run``."""
        with self._lock:
            future = self.suite.run(
                tests,
                files,
                swap=swap,
                stop_at_first_failure=stop_at_first_failure,
                facts=facts,
                trace=trace,
                wall_s=wall_s,
                stall_s=stall_s,
            )
            self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future


@contextmanager
def open_warm_suite(project: Project, level: Level = "full", limits: SuiteLimits | None = None) -> Iterator[WarmSuite]:
    """Open the suite of a project, and close it when the block ends. Raises what ``open_suite`` raises."""
    with open_suite(project, limits, level=level) as suite:
        yield WarmSuite(suite)
