"""Run tests with pytest. Imported only where the project's interpreter has it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from .reports import MAX_LONG_TEXT, MAX_TEXT, Compared, Reports, compared_in, facts_of, text_of

_PLUGINS = {"xdist": ["-n0"], "pytest_cov": ["--no-cov"], "pytest_randomly": ["-p", "no:randomly"]}
"""What keeps plugins from running tests elsewhere, slowing them down or shuffling them."""


def run(request: Mapping[str, Any], reports: Reports) -> int:
    """Run the tests of a request and return pytest's exit code."""
    # All tests are collected, whatever the project has set. What ends a run is set after that.
    arguments = [*request["arguments"], *request["tests"], "--maxfail=0"]
    if not request["facts"]:
        arguments.append("--tb=no")  # To find the source of a traceback takes longer than most tests.
    for package, words in _PLUGINS.items():
        if importlib.util.find_spec(package):
            arguments += words
    return int(pytest.main(arguments, plugins=[_Plugin(reports)]))


class _Plugin:
    """Reports each test of a session of pytest."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._phases: dict[str, tuple[str, dict[str, Any]]] = {}
        self._compared: Compared | None = None
        self._collecting: BaseException | None = None

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, Any, None]:
        wanted = self._reports.collected([item.nodeid for item in session.items] if not session.testsfailed else [])
        if not session.testsfailed:
            session.items[:] = [item for item in session.items if item.nodeid in wanted]
        session.config.option.maxfail = int(self._reports.first_failure)
        yield
        self._reports.all_ran(int(session.testsfailed > 0))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, None]:
        self._compared = None
        begin = time.monotonic()
        self._reports.begin(item.nodeid)
        ended = yield
        # A test passes only if its call was seen to. One that ends pytest itself, or breaks its report, fails.
        outcome, facts = self._phases.pop(item.nodeid, ("failed", {}))
        if ended.excinfo is not None:
            outcome, facts = "failed", facts_of(ended.excinfo[1], None) if self._reports.with_facts else {}
        place = {**_place(item), "wall_s": time.monotonic() - begin} if self._reports.with_facts else {}
        self._reports.end(item.nodeid, outcome, {**place, **facts})

    # What pytest runs to report a failure, such as the ``__repr__`` of what was passed, is not traced.
    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, None]:
        with self._reports.tracing():
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, None]:
        with self._reports.tracing():
            yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, None]:
        report = (yield).get_result()
        if report.failed and self._phases.get(item.nodeid, ("", {}))[0] != "failed":
            error = call.excinfo.value if call.excinfo else None
            # Tests may also be those of unittest, whose assertions are not pytest's.
            compared = self._compared or (compared_in(error.__traceback__) if error else None)
            facts = facts_of(error, compared) if self._reports.with_facts and error else {}
            self._phases[item.nodeid] = ("failed", facts)
        elif report.skipped:
            self._phases[item.nodeid] = ("skipped", {})
        elif report.passed and report.when == "call":
            self._phases.setdefault(item.nodeid, ("passed", {}))

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        self._reports.pause()
        if self._reports.with_facts:
            self._compared = (op, text_of(left), text_of(right))

    def pytest_exception_interact(self, call: Any) -> None:
        if call.when == "collect":
            error = call.excinfo.value
            # pytest wraps what a module raises while it is imported.
            self._collecting = error.__cause__ or error

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = getattr(report, "longreprtext", "")
            error = self._collecting
            facts = facts_of(error, None) if error else {"type": "CollectError", "message": text[-MAX_TEXT:]}
            more = {"collecting": True, "text": text[-MAX_LONG_TEXT:]}
            self._reports.end(report.nodeid or "collection", "failed", {**facts, **more})


def _place(item: Any) -> dict[str, Any]:
    """Return where a test stands, and the parameters of this case."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return {
        "path": str(getattr(item, "path", None) or item.fspath),
        "name": item.location[2],
        "line": (item.location[1] or 0) + 1,
        "parameters": {name: text_of(value) for name, value in parameters.items()},
    }
