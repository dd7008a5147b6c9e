"""Keep the suite of a project ready for many tries of many functions.

    with open_warm_suite(project) as warm:
        warm.prepare(["tests/test_prices.py"], ["tests/test_prices.py::test_total"])
        warm.run(tests, {"shop/prices.py": text}, swap=swap).result()

Its process has imported the packages that the tests load, and another one the project with its tests. A try forks from the latter
where nothing but the body of a function differs (``suite_server/swapping.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.project import Project
from mlx_selfdebug.projects.source import Function, functions_of, read_source
from mlx_selfdebug.projects.suite import Suite, SuiteLimits, open_suite
from mlx_selfdebug.projects.suite_run import SuiteRun
from mlx_selfdebug.sandbox.isolation import Level


class WarmSuite:
    """The suite of a project, and the functions of it as they were when it was opened. Any thread may use it."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._files: frozenset[str] = frozenset()
        self._functions: dict[str, dict[str, Function]] = {}
        self._under_way: set[Future[SuiteRun]] = set()
        self._lock = threading.RLock()

    def prepare(self, files: Sequence[str], tests: Sequence[str], known: SuiteRun | None = None) -> None:
        """Have the project loaded for the tests in ``files``, unless it is already. ``tests`` are some of them, which pass.

        If they do not pass any more once the project is loaded, each try will load it anew. ``known`` is a run with facts, if there
        was one.
        """
        with self._lock:
            if self._files.issuperset(files):
                return
            wait(self._under_way)
            self._files |= set(files)
            run = known or self.suite.run(tests, facts=True).result()
            modules = [name for name, path in run.modules.items() if self.suite.relative(path) is None]
            self.suite.warm(modules, sorted(self._files))
            again = self.suite.run(tests).result()
            if not all(again.passed(id_) for id_ in tests):
                self.suite.warm([])

    def function(self, file: str, name: str) -> Function:
        """Return a function of the project. Raises UsageError if it is not there."""
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

    def run(self, tests: Sequence[str], files: Mapping[str, str], **options: Any) -> Future[SuiteRun]:
        """Begin a run of ``tests``; see ``Suite.run``."""
        with self._lock:
            future = self.suite.run(tests, files, **options)
            self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future


@contextmanager
def open_warm_suite(project: Project, level: Level = "full", limits: SuiteLimits | None = None) -> Iterator[WarmSuite]:
    """Give the suite of a project until the block ends. Raises what ``open_suite`` raises."""
    with open_suite(project, limits, level=level) as suite:
        yield WarmSuite(suite)
