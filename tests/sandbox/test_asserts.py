"""The rewriter: recorded checks pass exactly where plain Python's asserts would, and evaluate what Python would."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.grading.asserts import RECORDER, compile_checks
from mlx_selfdebug.sandbox.grading.checking import prepare, run_checks
from mlx_selfdebug.sandbox.grading.remote import Death
from mlx_selfdebug.sandbox.grading.signals import CandidateError, raisable
from mlx_selfdebug.sandbox.grading.taint import ARGUMENT, CALL, CLEAN, RESULT, Taint
from mlx_selfdebug.sandbox.grading.tools import TOOLS
from mlx_selfdebug.values.verdict import ErrorFact


class LocalCandidate:
    """Stands in for a candidate in another process: the same calls, answered here."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.death: Death | None = None
        self.wall_s = 5.0
        self.n_answers = self.n_calls = 0
        self.returned_opaque = False
        self.last_value: Any = None
        self.calls: list[tuple[Any, ...]] = []

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.n_calls += 1
        self.calls.append(args)
        try:
            self.last_value = self.function(*args, **kwargs)
        except Exception as error:
            raise raisable(ErrorFact(type(error).__name__, str(error)), type(error).__name__) from None
        finally:
            self.n_answers += 1
        return self.last_value

    def last_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        return (self.calls[-1], {}) if self.calls else None


def recorded(source: str, function: Any) -> tuple[bool, list[tuple[Any, ...]]]:
    candidate = LocalCandidate(function)
    report = run_checks(prepare(source, "", "f"), candidate, "f")  # type: ignore[arg-type]
    return report.outcome == "passed", candidate.calls


def plain(source: str, function: Any) -> tuple[bool, list[tuple[Any, ...]]]:
    candidate = LocalCandidate(function)
    namespace: dict[str, Any] = {**TOOLS, "f": candidate.call}
    try:
        exec(source, namespace)
        namespace["check"](candidate.call)
    except (Exception, CandidateError):
        return False, candidate.calls
    return True, candidate.calls


numbers = st.integers(-3, 3).map(str)
calls = st.one_of(
    numbers.map(lambda n: f"f({n})"), numbers.map(lambda n: f"abs(f({n}))"), st.just("[f(1), f(2)][0]"), st.just("x")
)
operands = st.one_of(numbers, calls, st.just("y"), numbers.map(lambda n: f"[{n}]"), st.just("None"))
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "is", "is not", "in", "not in"])
comparisons = st.builds(lambda a, o, b: f"{a} {o} {b}", operands, operators, operands)
chains = st.builds(lambda a, o, b, p, c: f"{a} {o} {b} {p} {c}", operands, operators, operands, operators, operands)
close = st.builds(lambda a, b: f"abs({a} - {b}) < 1", operands, operands)
negated = operands.map(lambda a: f"not {a}")
tests = st.one_of(comparisons, chains, close, negated, operands)
conditions = st.one_of(
    tests, st.builds(lambda a, o, b: f"({a}) {o} ({b})", tests, st.sampled_from(["and", "or"]), tests)
)
statements = st.one_of(
    conditions.map(lambda c: f"assert {c}"),
    conditions.map(lambda c: f"assert {c}, undefined"),
    conditions.map(lambda c: f"for y in range(2):\n    assert {c}"),
    conditions.map(lambda c: f"try:\n    assert {c}\nexcept AssertionError:\n    y = 2"),
    conditions.map(lambda c: f"try:\n    assert {c}\nexcept (ValueError, TypeError):\n    y = 3"),
    conditions.map(lambda c: f"try:\n    f(3)\n    assert False\nexcept ValueError:\n    assert {c}"),
    conditions.map(lambda c: f"if {c}:\n    assert y"),
    calls.map(lambda c: f"x = {c}"),
    calls.map(lambda c: f"with raises(ValueError):\n    {c}"),
    calls.map(lambda c: f"with raises((ZeroDivisionError, TypeError)) as caught:\n    x = {c}"),
    calls.map(lambda c: f"try:\n    with raises(ValueError):\n        {c}\nexcept ZeroDivisionError:\n    y = 5"),
    calls.map(lambda c: f"try:\n    with raises(ValueError):\n        {c}\nexcept Exception:\n    y = 5"),
    conditions.map(lambda c: f"with independent_test('t'):\n    assert {c}"),
    st.builds(lambda a, b: f"assert {a} == approx({b})", operands, operands),
    st.builds(lambda a, b: f"assert almost_equal({a}, {b})", operands, operands),
)
FUNCTIONS = {
    "identity": lambda n: n,
    "square": lambda n: n * n,
    "none": lambda n: None,
    "list": lambda n: [n],
    "picky": lambda n: 1 // n,
    "strict": lambda n: int("x") if n > 2 else n,
}


@settings(max_examples=1000, deadline=None)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(st.lists(statements, min_size=1, max_size=4), st.sampled_from(sorted(FUNCTIONS)))
def test_recorded_checks_pass_exactly_where_plain_ones_do(lines: list[str], name: str) -> None:
    body = "\n".join(["x, y = 1, 0", *lines]).replace("\n", "\n    ")
    source = f"def check(candidate):\n    {body}\n"
    passed, calls_made = plain(source, FUNCTIONS[name])
    passed_recorded, calls_recorded = recorded(source, FUNCTIONS[name])
    assert passed_recorded == passed, source
    # Up to the first failure the same calls are made in the same order; afterwards the recorded checks go on.
    assert calls_recorded[: len(calls_made)] == calls_made, source


def test_each_side_is_evaluated_once_and_left_first() -> None:
    source = "def check(candidate):\n    assert f(1) == f(2)\n    assert f(3) < f(4)\n"
    assert recorded(source, lambda n: None)[1][:2] == [(1,), (2,)]
    assert recorded(source, lambda n: 5)[1] == [(1,), (2,), (3,), (4,)]


def test_asserts_in_generators_helpers_and_classes_are_recorded() -> None:
    source = """
def check(candidate):
    def each():
        for i in range(3):
            assert candidate(i) == i
            yield i
    class Group:
        expected = 7
        assert candidate(7) == expected
    def helper(n):
        assert candidate(n) == n
        return True
    assert list(each()) == [0, 1, 2]
    assert helper(9)
"""
    candidate = LocalCandidate(lambda n: n)
    report = run_checks(prepare(source, "", "f"), candidate, "f")  # type: ignore[arg-type]
    assert (report.outcome, report.n_passed, report.n_checks) == ("passed", 7, 7)


def test_lines_of_the_source_are_kept() -> None:
    compiled = compile_checks(
        "def check(candidate):\n    assert f(1) == 1\n    for i in (1,):\n        assert f(i) == 1\n    assert f(2)\n",
        "f",
    )
    assert [(site.line, site.runs_once) for site in compiled.sites] == [(2, True), (4, False), (5, True)]
    assert compiled.remaining(2) == 1


def test_checks_without_asserts_are_left_alone() -> None:
    source = "def check(candidate):\n    return candidate(1)\n"
    assert RECORDER not in compile_checks(source, "f").code.co_names
    assert compile_checks(source, "f").sites == ()


@pytest.mark.parametrize(
    ("expression", "level"),
    [("1 + z", CLEAN), ("given", ARGUMENT), ("result[0]", RESULT), ("len(candidate(3))", CALL), ("f(3)", CALL), ("alias(3)", CALL), ("item", RESULT)],
)  # fmt: skip
def test_taint_tells_what_the_candidate_gave(expression: str, level: int) -> None:
    source = """
def check(candidate):
    alias = candidate
    given = [1]
    result = candidate(given)
    for item in result:
        pass
"""
    assert Taint(ast.parse(source), "f").level_of(ast.parse(expression, mode="eval").body) == level
