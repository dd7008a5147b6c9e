"""Run tests with pytest. Import this module only if the project's interpreter has pytest, which is imported here."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Generator
from typing import Any

import pytest

from .messages import CollectRequest
from .reports import MAX_LONG_TEXT, MAX_TEXT, Compared, Reports, compared_in, facts_of, text_of

_PLUGIN_OPTIONS = {"xdist": ["-n0"], "pytest_cov": ["--no-cov"], "pytest_randomly": ["-p", "no:randomly"]}
"""Options by package. They keep the plugin from running tests in other processes, slowing them down or shuffling them."""


def run(request: CollectRequest, reports: Reports) -> int:
    """Run the tests of a request, and return pytest's exit code."""
    # All files are collected, whatever limit of failures the project sets. ``pytest_runtestloop`` sets the limit of the request.
    arguments = [*request["arguments"], *request["tests"], "--maxfail=0"]
    if not request["facts"]:
        arguments.append("--tb=no")  # finding the source of a traceback takes longer than most tests
    for package, options in _PLUGIN_OPTIONS.items():
        if importlib.util.find_spec(package):
            arguments += options
    return int(pytest.main(arguments, plugins=[_Plugin(reports)]))


class _Plugin:
    """A pytest plugin that reports each test. Its methods are pytest's hooks, in the order in which pytest calls them."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._results: dict[str, tuple[str, dict[str, Any]]] = {}
        """The outcome and the facts so far of the test that is running, by its id. Set-up, call and tear-down add to them."""
        self._compared: Compared | None = None
        """The last failed comparison of the test that is running."""
        self._collect_error: BaseException | None = None
        """The last exception that was raised while a file was collected."""

    def pytest_exception_interact(self, call: Any) -> None:
        if call.when == "collect":
            error = call.excinfo.value
            # pytest wraps the exception of a module that cannot be imported.
            self._collect_error = error.__cause__ or error

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = getattr(report, "longreprtext", "")
            error = self._collect_error
            facts = facts_of(error, None) if error else {"type": "CollectError", "message": text[-MAX_TEXT:]}
            details = {"collecting": True, "text": text[-MAX_LONG_TEXT:]}
            self._reports.end(report.nodeid or "collection", "failed", {**facts, **details})

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, Any, None]:
        # If a file could not be collected, pytest runs no test, unless an option of the project says otherwise.
        wanted = self._reports.collected([item.nodeid for item in session.items] if not session.testsfailed else [])
        if not session.testsfailed:
            session.items[:] = [item for item in session.items if item.nodeid in wanted]
        session.config.option.maxfail = int(self._reports.stop_at_first_failure)
        yield
        self._reports.all_ran(int(session.testsfailed > 0))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, None]:
        self._compared = None
        begin = time.monotonic()
        self._reports.begin(item.nodeid)
        result = yield
        # A test passes only if its call was reported as passed. It fails if it ends pytest itself or breaks pytest's report.
        outcome, facts = self._results.pop(item.nodeid, ("failed", {}))
        if result.excinfo is not None:
            outcome, facts = "failed", facts_of(result.excinfo[1], None) if self._reports.with_facts else {}
        place = {**_place(item), "wall_s": time.monotonic() - begin} if self._reports.with_facts else {}
        self._reports.end(item.nodeid, outcome, {**place, **facts})

    # Only set-up and call are traced, so that code which pytest runs to report a failure, such as a ``__repr__``, is not.
    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, None]:
        with self._reports.tracing():
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, None]:
        with self._reports.tracing():
            yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        self._reports.stop_tracing()
        if self._reports.with_facts:
            self._compared = Compared(op, text_of(left), text_of(right))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, None]:
        # pytest calls this hook after set-up, call and tear-down. The first failure counts.
        report = (yield).get_result()
        if report.failed and self._results.get(item.nodeid, ("", {}))[0] != "failed":
            error = call.excinfo.value if call.excinfo else None
            # pytest also runs unittest's tests, whose assertions do not call pytest_assertrepr_compare.
            compared = self._compared or (compared_in(error.__traceback__) if error else None)
            facts = facts_of(error, compared) if self._reports.with_facts and error else {}
            self._results[item.nodeid] = ("failed", facts)
        elif report.skipped:
            self._results[item.nodeid] = ("skipped", {})
        elif report.passed and report.when == "call":
            self._results.setdefault(item.nodeid, ("passed", {}))


def _place(item: Any) -> dict[str, Any]:
    """Return where a test is defined and the parameters of its case, with the keys of ``TestResult`` in ``suite_run.py``."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return {
        "path": str(getattr(item, "path", None) or item.fspath),
        "name": item.location[2],
        "line": (item.location[1] or 0) + 1,
        "parameters": {name: text_of(value) for name, value in parameters.items()},
    }
