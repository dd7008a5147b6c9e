"""Run tests with unittest, as ``python -m unittest`` would run them."""

from __future__ import annotations

import os
import sys
import time
import unittest
from collections.abc import Iterator, Sequence
from typing import Any

from .messages import CollectRequest
from .reports import Reports, compared_in, facts_of


def run(request: CollectRequest, reports: Reports) -> int:
    """Run the tests of a request. Return 0 if at least one ran and none failed, 2 if unittest cannot read the arguments, else 1."""
    try:
        command = _CommandLine(request["arguments"])
    except SystemExit:
        return 2  # unittest has printed what is wrong, as any program that reads its arguments with argparse does
    suite = command.load(request["tests"])
    wanted = reports.collected([test.id() for test in _tests_in(suite)])
    suite = unittest.TestSuite(test for test in _tests_in(suite) if test.id() in wanted)
    result = _Result(reports)
    suite.run(result)
    status = 0 if result.wasSuccessful() and result.testsRun else 1
    reports.all_ran(status)
    return status


class _CommandLine(unittest.TestProgram):
    """The arguments of ``python -m unittest``, which are read as that program reads them. No test is run here."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._discovers = False
        super().__init__(module=None, argv=["python -m unittest", *arguments], testLoader=unittest.TestLoader())

    def createTests(self, from_discovery: bool = False, Loader: Any = None) -> None:  # noqa: N802, N803, ARG002
        """Note whether tests are to be discovered. Unittest calls this when it has read the arguments."""
        self._discovers = from_discovery

    def runTests(self) -> None:  # noqa: N802
        """Run nothing. Unittest calls this last."""

    def load(self, ids: Sequence[str]) -> unittest.TestSuite:
        """Load the tests with these ids, or, if there are none, those that the arguments select."""
        program: Any = self
        suite: unittest.TestSuite
        if not ids:
            super().createTests(from_discovery=self._discovers)
            suite = program.test
            return suite
        if self._discovers and os.path.isdir(program.start):
            # The ids of discovered tests are relative to this folder. Discovery would put it at the head of the import path.
            sys.path.insert(0, os.path.abspath(program.top or program.start))
        suite = program.testLoader.loadTestsFromNames(ids)
        return suite


def _tests_in(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite and of the suites inside it."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests_in(test)
        else:
            yield test


class _Result(unittest.TestResult):
    """Reports each test of a run of unittest."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self._reports = reports
        self._outcome, self._facts = "failed", dict[str, Any]()
        self._begin = 0.0
        self._tracing = reports.tracing()

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._outcome, self._facts = "failed", {}  # a test fails unless a success is reported
        self._begin = time.monotonic()
        self._reports.begin(test.id())
        self._tracing.__enter__()

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._tracing.__exit__(None, None, None)
        super().stopTest(test)
        place = {**_place(test), "wall_s": time.monotonic() - self._begin} if self._reports.with_facts else {}
        self._reports.end(test.id(), self._outcome, {**place, **self._facts})

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addSuccess(test)
        self._outcome = "passed"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self._outcome = "skipped"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        # The base class removes unittest's frames from the traceback, and they hold the compared values.
        self._fail(err)
        super().addFailure(test, err)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._fail(err)
        super().addError(test, err)
        # If the set-up of a class or module fails, no test is started or stopped. ``test`` then only stands for the error.
        if not hasattr(test, "_testMethodName"):
            self._reports.end(test.id(), "failed", self._facts)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._fail(err)
        super().addSubTest(test, subtest, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._outcome = "skipped"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._outcome = "failed"

    def _fail(self, error: Any) -> None:
        """Note that the test has failed, and why. ``error`` is an exception as ``sys.exc_info`` returns it."""
        self._outcome = "failed"
        self._facts = facts_of(error[1], compared_in(error[2])) if self._reports.with_facts else {}
        if self._reports.stop_at_first_failure:
            self.stop()


def _place(test: unittest.TestCase) -> dict[str, Any]:
    """Return where a test is defined, with the keys of ``TestResult`` in ``projects/suite_run.py``; empty if it is not known."""
    code = getattr(getattr(test, getattr(test, "_testMethodName", ""), None), "__code__", None)
    if code is None:
        return {}
    return {"path": code.co_filename, "line": code.co_firstlineno, "name": code.co_name, "parameters": {}}
