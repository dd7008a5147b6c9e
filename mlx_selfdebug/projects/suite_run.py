"""What a run of a project's tests has shown, as values. All of it comes from the project's own code, so it may be false."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
HUNG = "Timeout"
"""The type of error of a test that did not end."""


@dataclass(frozen=True)
class Frame:
    """A line of a traceback."""

    path: str
    line: int
    function: str


@dataclass(frozen=True)
class TestFacts:
    """What is known of why a test failed. All texts are cut at a few hundred characters."""

    type: str = ""
    """The type of the exception."""
    message: str = ""
    op: str = ""
    """The comparison of the assert that failed, such as "==", or empty if it was none."""
    left: str = ""
    right: str = ""
    frames: tuple[Frame, ...] = ()
    """The traceback, outermost first."""
    text: str = ""
    """What pytest says of a file that it cannot collect."""

    # pytest would otherwise take a class of this name for a class of tests.
    __test__ = False


@dataclass(frozen=True)
class TestResult:
    """The result of one test."""

    id: str
    outcome: str
    """"passed", "failed" or "skipped"."""
    path: str = ""
    """The file that holds the test, as the tests see it."""
    name: str = ""
    line: int = 0
    """The line in which the test begins, from 1; 0 if it is not known."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    facts: TestFacts | None = None
    collecting: bool = False
    """Whether this is a file that could not be collected."""

    __test__ = False


@dataclass(frozen=True)
class SuiteRun:
    """A run of some tests or all of them."""

    ending: str
    """"ended", "timed_out", or what ended the whole session, such as "memory"."""
    tests: Mapping[str, TestResult]
    """The tests that ended, by id, in the order in which they ran."""
    lines: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    """For each traced test and each file, the lines that ran."""
    wall_s: float = 0.0
    status: int | None = None
    """The exit code of pytest, or None if the run did not end by itself."""
    output: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    """The modules that the tests loaded, by name, with their files."""
    spawning: frozenset[str] = frozenset()
    """The tests that started other programs."""
    broken: str = ""
    """The traceback of the framework, if it failed itself."""

    def passed(self, id_: str) -> bool:
        """Return whether a test passed. A file that could not be collected passes once tests in it run and none of them fails."""
        if id_ in self.tests:
            return self.tests[id_].outcome == PASSED
        inside = [test for other, test in self.tests.items() if other.startswith(f"{id_}::")]
        return bool(inside) and all(test.outcome != FAILED for test in inside)

    def failed(self) -> list[str]:
        """Return the ids of the tests that failed, in order."""
        return [id_ for id_, test in self.tests.items() if test.outcome == FAILED]

    def count(self, outcome: str) -> int:
        return sum(test.outcome == outcome for test in self.tests.values())


def suite_run_of(answer: Mapping[str, Any]) -> SuiteRun:
    """Read the answer of the program inside the sandbox. What is missing or of the wrong type is taken as empty."""
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
    return {
        path: frozenset(line for line in lines if isinstance(line, int))
        for path, lines in _mapping(value).items()
        if isinstance(lines, list)
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
