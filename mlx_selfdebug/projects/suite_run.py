"""Define the result of a run of a project's tests, and read it from the server's answer.

All of it comes from the process in which the project's code runs, so it may be false, and any part of an answer may be missing or
of a wrong type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TestOutcome = Literal["passed", "failed", "skipped"]
PASSED: TestOutcome = "passed"
FAILED: TestOutcome = "failed"
SKIPPED: TestOutcome = "skipped"
HUNG = "Timeout"
"""The ``TestFacts.type`` of a test that did not end: it took too long, or the process ended in it."""


@dataclass(frozen=True)
class Frame:
    """A line of a traceback."""

    path: str
    """The path of the file, as the tests see it."""
    line: int
    """The number of the line, from 1."""
    function: str


@dataclass(frozen=True)
class TestFacts:
    """Why a test failed. Long values and messages are shortened (``suite_server/reports.py``)."""

    type: str = ""
    """The name of the exception's type."""
    message: str = ""
    """The text of the exception."""
    op: str = ""
    """The operator of the comparison that failed, such as "==", or an empty string if the test failed in another way."""
    left: str = ""
    """The ``repr`` of the value on the left of that comparison."""
    right: str = ""
    """The ``repr`` of the value on its right."""
    frames: tuple[Frame, ...] = ()
    """The traceback, outermost frame first."""
    text: str = ""
    """What pytest printed about a file that it could not collect."""

    # The name begins with "Test", so that pytest would otherwise take this for a class of tests.
    __test__ = False


@dataclass(frozen=True)
class TestResult:
    """The result of one test."""

    id: str
    """The id by which the framework names the test, or the path of a file that could not be collected."""
    outcome: TestOutcome
    path: str = ""
    """The path of the file that holds the test, as the tests see it. Known only in runs with facts, like the next three."""
    name: str = ""
    """The name of the test within its file, such as "StatsTest.test_mean[1]"."""
    line: int = 0
    """The number of the line in which the test begins, from 1, or 0 if it is not known."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The ``repr`` of each parameter of a parametrized test."""
    facts: TestFacts | None = None
    """Why the test failed, or None if it did not."""
    collecting: bool = False
    """Whether this is not a test but a file that could not be collected."""

    __test__ = False


@dataclass(frozen=True)
class SuiteRun:
    """The result of one run of a project's tests."""

    ending: str
    """Either "ended", "timed_out", or what ended the whole server, such as "memory", "lost" or "closed"."""
    tests: Mapping[str, TestResult]
    """The results by id, in the order in which the tests ended. A test that was begun and did not end is the last one."""
    lines: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    """The numbers of the lines of traced files that ran, by the id of the test and the path of the file, as the tests see it."""
    wall_s: float = 0.0
    """The time that the run took, in seconds."""
    status: int | None = None
    """The exit code of the framework, or None if the run did not end by itself."""
    output: str = ""
    """The end of what the tests printed, in runs with facts."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """The paths of the modules that were loaded when the run ended, by their names, in runs with facts."""
    spawning: frozenset[str] = frozenset()
    """The ids of the tests that started other programs, in runs with facts."""
    broken: str = ""
    """The traceback of an exception that the framework itself raised, or an empty string."""

    def passed(self, id_: str) -> bool:
        """Return whether the test of this id passed.

        ``id_`` may also name a file that could not be collected in an earlier run. It passes if some of its tests ran and none of
        them failed.
        """
        if id_ in self.tests:
            return self.tests[id_].outcome == PASSED
        in_file = [test for other, test in self.tests.items() if other.startswith(f"{id_}::")]
        return bool(in_file) and all(test.outcome != FAILED for test in in_file)

    def failed(self) -> list[str]:
        """Return the ids of the tests that failed, in order."""
        return [id_ for id_, test in self.tests.items() if test.outcome == FAILED]

    def count(self, outcome: TestOutcome) -> int:
        """Return the number of tests with this outcome."""
        return sum(test.outcome == outcome for test in self.tests.values())


def suite_run_of(answer: Mapping[str, Any]) -> SuiteRun:
    """Read the server's answer to a request for a run. A part that is missing or of a wrong type is read as empty.

    A test that was begun and has no result fails, with ``HUNG`` as the type of its exception.
    """
    tests = {id_: _result(id_, values) for id_, values in _mapping(answer.get("tests")).items()}
    started = answer.get("started")
    if isinstance(started, str) and started not in tests:
        ended = "it did not end" if answer.get("ending") == "timed_out" else "it ended the process"
        tests[started] = TestResult(started, FAILED, facts=TestFacts(HUNG, ended))
    return SuiteRun(
        ending=_text(answer.get("ending")) or "ended",
        tests=tests,
        lines={id_: _lines(files) for id_, files in _mapping(answer.get("lines")).items()},
        wall_s=_number(answer.get("wall_s")),
        status=answer["exit"] if isinstance(answer.get("exit"), int) else None,
        output=_text(answer.get("output")),
        modules={name: _text(path) for name, path in _mapping(answer.get("modules")).items()},
        spawning=frozenset(
            id_ for id_, values in _mapping(answer.get("tests")).items() if _mapping(values).get("spawns") is True
        ),
        broken=_text(answer.get("broken")),
    )


def _result(id_: str, values: Any) -> TestResult:
    """Read the result of one test. A test without a known outcome has failed."""
    values = _mapping(values)
    outcome = values.get("outcome")
    return TestResult(
        id=id_,
        outcome=outcome if outcome in (PASSED, SKIPPED) else FAILED,
        path=_text(values.get("path")),
        name=_text(values.get("name")),
        line=int(_number(values.get("line"))),
        parameters={name: _text(value) for name, value in _mapping(values.get("parameters")).items()},
        facts=_facts(values) if outcome == FAILED else None,
        collecting=values.get("collecting") is True,
    )


def _facts(values: Mapping[str, Any]) -> TestFacts:
    texts = {name: _text(values.get(name)) for name in ("type", "message", "op", "left", "right", "text")}
    return TestFacts(**texts, frames=tuple(_frames(values.get("frames"))))


def _frames(value: Any) -> list[Frame]:
    entries = value if isinstance(value, list) else []
    return [Frame(_text(e[0]), int(_number(e[1])), _text(e[2])) for e in entries if isinstance(e, list) and len(e) == 3]


def _lines(value: Any) -> dict[str, frozenset[int]]:
    """Read the lines that one test has run, by the path of the file."""
    return {
        path: frozenset(line for line in lines if isinstance(line, int))
        for path, lines in _mapping(value).items()
        if isinstance(lines, list)
    }


# The following functions read one value. A value of a wrong type is read as empty or 0.


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
