"""What a failed check says: input, expected, got, error. One kind of assert each."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import Failure, TestRunner, Verdict
from mlx_selfdebug.values.checks import Checks


def judged(runner: TestRunner, source: str, *asserts: str, setup: str = "") -> Verdict:
    return runner.run(source, Checks.from_asserts(asserts, setup=setup), "f")


def fact(runner: TestRunner, source: str, *asserts: str, setup: str = "") -> Failure:
    verdict = judged(runner, source, *asserts, setup=setup)
    assert len(verdict.failures) == 1, verdict
    return verdict.failures[0]


NONE = "def f(*a, **k): return None"
DOUBLE = "def f(x): return x + x"


@pytest.mark.parametrize(
    ("assertion", "input_", "expected", "kind"),
    [
        ("assert f(3) == 9", "3", "9", "value"),
        ("assert 9 == f(3)", "3", "9", "value"),
        ("assert f(3) is True", "3", "True", "value"),
        ("assert f(1, [2, 'a'], x={3}) == {1, 2}", "1, [2, 'a'], x={3}", "{1, 2}", "value"),
        ("result = f(3)\nassert result == 9", "3", "9", "value"),
        ("for i in (1,):\n    assert f(i) == i + 8", "1", "9", "value"),
        ("exp = 4\nassert exp == f(3), 'a message ' + undefined", "3", "4", "value"),
        ("assert abs(f(1.5) - 2.25) < 1e-6", "1.5", "2.25", "approx"),
        ("assert abs(2.25 - f(1.5)) <= 1e-6", "1.5", "2.25", "approx"),
        ("import math\nassert math.isclose(f(1.5), 2.25, rel_tol=1e-6)", "1.5", "2.25", "approx"),
        ("assert f(1.5) == approx(2.25)", "1.5", "2.25", "approx"),
        ("import pytest\nassert pytest.approx(2.25) == f(1.5)", "1.5", "2.25", "approx"),
        ("assert almost_equal(f(1.5), 2.25, places=3)", "1.5", "2.25", "approx"),
        (
            "class np:\n    isclose = allclose = staticmethod(lambda a, b: False)\nassert np.allclose(f(1.5), [2.25])",
            "1.5",
            "[2.25]",
            "approx",
        ),
        ("with raises(ValueError):\n    f(3)", "3", "ValueError", "raises"),
        ("with raises((ValueError, KeyError), match='x'):\n    f(3)", "3", "(ValueError, KeyError)", "raises"),
        ("assert f(3)", "3", "True", "predicate"),
        ("assert f(3) > 4", "3", "> 4", "predicate"),
        ("assert f(3) in (1, 2)", "3", "in (1, 2)", "predicate"),
        ("assert 4 < f(3)", "3", "4 < f(3)", "predicate"),
        ("assert sorted(f([2, 1])) == [1, 2]", "[2, 1]", "[1, 2]", "value"),
        ("assert 1 < f(3) < 9", "3", "1 < f(3) < 9", "predicate"),
        ("assert f(3) and f(4)", "3", "f(3) and f(4)", "predicate"),
        ("assert f(3)[0] == 1", "3", "1", "value"),
        ("def same(out, exp):\n    assert out == exp\nsame(f(3), 9)", "3", "9", "value"),
        ("assert (y := f(3)) == 9", "3", "9", "value"),
    ],
)
def test_a_failed_assert_gives_input_expected_and_got(
    runner: TestRunner, assertion: str, input_: str, expected: str, kind: str
) -> None:
    failure = fact(runner, NONE, assertion)
    assert (failure.input, failure.expected, failure.expected_kind, failure.got) == (input_, expected, kind, "None")
    assert failure.error is None


def test_a_negated_assert_expects_false(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x): return [x]", "assert not f(3)")
    assert (failure.expected, failure.got, failure.check) == ("False", "[3]", "assert not f(3)")


def test_the_input_is_shown_as_it_was_before_the_call(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x):\n    x.append(9)\n    return x", "a = [1]\nassert f(a) == [1]")
    assert (failure.input, failure.got) == ("[1]", "[1, 9]")


def test_the_candidates_changes_to_its_arguments_reach_the_checks(runner: TestRunner) -> None:
    source = "def f(a, b, c):\n    a.sort(); b['k'].append(1); c.add(4); c.discard(1)"
    text = "a, inner, c = [3, 1, 2], [], {1}\nb = {'k': inner}\nf(a, b, c)\n"
    verdict = judged(runner, source, text + "assert a == [1, 2, 3]", "assert inner == [1]", "assert c == {4}")
    assert verdict.passed, verdict


def test_an_exception_gives_its_type_message_line_and_source(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x):\n    y = x - 3\n    return 1 / y\n", "assert f(3) == 9")
    assert failure.error is not None
    assert (failure.error.type, failure.error.message) == ("ZeroDivisionError", "division by zero")
    assert (failure.error.line, failure.error.source) == (3, "    return 1 / y")
    assert (failure.input, failure.expected, failure.got) == ("3", "9", "")


def test_the_line_is_that_of_the_source_and_not_of_the_prelude(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert f(3) == 9"])
    verdict = runner.run(
        "def f(x):\n    return helper(x)\n", checks, "f", prelude="import math\n\ndef helper(x): return x.y"
    )
    error = verdict.failures[0].error
    assert error is not None
    assert (error.type, error.line, error.source) == ("AttributeError", 2, "    return helper(x)")


def test_a_syntax_error_names_its_line(runner: TestRunner) -> None:
    error = judged(runner, "def f(x):\n    return (\n", "assert f(3) == 9").failures[0].error
    assert error is not None
    assert (error.type, error.line, error.source) == ("SyntaxError", 2, "    return (")


def test_an_expected_exception_passes_when_raised_and_says_so_when_not(runner: TestRunner) -> None:
    text = "try:\n    f(-1)\n    assert False, 'should raise'\nexcept ValueError:\n    pass"
    assert judged(runner, "def f(x): raise ValueError('negative')", text).passed
    assert judged(runner, "class Mine(ValueError): pass\ndef f(x): raise Mine(x)", text).passed
    failure = fact(runner, NONE, text)
    assert (failure.input, failure.expected, failure.expected_kind, failure.got) == (
        "-1",
        "ValueError",
        "raises",
        "None",
    )
    assert judged(runner, "def f(x): raise TypeError", text).outcome == "raised"


def test_an_assert_the_checks_catch_themselves_keeps_its_meaning(runner: TestRunner) -> None:
    text = "try:\n    assert f(3) == 9\n    ok = True\nexcept AssertionError:\n    ok = False\nassert not ok"
    assert judged(runner, NONE, text).passed


def test_the_first_failed_check_decides_between_failed_and_raised(runner: TestRunner) -> None:
    source = "def f(x):\n    if x == 3: raise ValueError\n"
    assert judged(runner, source, "assert f(3) == 9", "assert f(4) == 16").outcome == "raised"
    assert judged(runner, source, "assert f(4) == 16", "assert f(3) == 9").outcome == "failed"


def test_a_value_that_is_not_plain_data_is_shown_by_its_type(runner: TestRunner) -> None:
    verdict = judged(runner, "def f(x): return {'a': (i for i in x)}", "assert f([1]) == [1]")
    assert (verdict.outcome, verdict.failures[0].got) == ("bad_value", "{'a': <generator>}")


@pytest.mark.parametrize(
    "assertion", ["assert f(3) != 9", "assert not f(3) == 9", "assert f(3)", "assert not f(3)", "assert f(3) > 0"]
)
def test_no_assert_about_an_opaque_value_passes(runner: TestRunner, assertion: str) -> None:
    assert judged(runner, "def f(x): return object()", assertion).outcome == "bad_value"


def test_a_timeout_names_the_input_that_caused_it_once(runner: TestRunner) -> None:
    verdict = judged(
        runner,
        "import os\ndef f(x):\n    if x == 4: os._exit(3)\n    return x",
        *[f"assert f({i}) == {i}" for i in range(3, 8)],
    )
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("early_exit", 1, 5)
    assert [(failure.input, failure.expected) for failure in verdict.failures] == [("4", "4")]


def test_loops_count_every_assert_but_keep_few_records(runner: TestRunner) -> None:
    verdict = judged(
        runner, NONE, "for i in range(50):\n    assert f(i) == i", *[f"assert f({i}) == 1" for i in range(20)]
    )
    assert (verdict.n_checks, verdict.n_passed, len(verdict.failures)) == (70, 0, 8)
    assert [failure.input for failure in verdict.failures[:4]] == ["0", "1", "2", "0"]


def test_long_texts_are_cut_in_the_middle(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x): return 'a' + x + 'z'", f"assert f({'b' * 5000!r}) == 'c' * 5000")
    assert all(
        len(text) == 300 and "..." in text for text in (failure.input, failure.expected, failure.got, failure.check)
    )
    assert failure.got.startswith("'abb")
    assert failure.got.endswith("bbz'")


def test_texts_hold_no_addresses_and_sets_are_in_order(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x): raise ValueError(repr(object()))", "assert f(3) == set('zyxabc')")
    assert failure.error is not None
    assert failure.error.message == "<object object>"
    assert failure.expected == "{'a', 'b', 'c', 'x', 'y', 'z'}"


def test_a_number_too_long_for_text_is_still_a_fact(runner: TestRunner) -> None:
    failure = fact(runner, "def f(x): return 7 ** 20000", "assert f(3) == 9")
    assert failure.got == "<int of 56148 bits>"


def test_a_constant_assert_counts_without_an_input(runner: TestRunner) -> None:
    verdict = judged(runner, NONE, "assert True", "assert f(1) is None")
    assert (verdict.outcome, verdict.n_checks) == ("passed", 2)


def test_a_statement_that_raises_stops_the_checks_and_counts_what_is_left(runner: TestRunner) -> None:
    verdict = judged(runner, NONE, "assert f(1) is None", "x = f(3)[0]", "assert x == 9", "assert f(4) == 16")
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 1, 3)
    assert (verdict.failures[0].check, verdict.failures[0].input, verdict.failures[0].got) == (
        "x = f(3)[0]",
        "3",
        "None",
    )


def test_the_value_of_a_failure_keeps_its_type(runner: TestRunner) -> None:
    assert fact(runner, "def f(x): return (x,)", "assert f(3) == [3]").got == "(3,)"
    assert fact(runner, "def f(x): return str(x)", "assert f(3) == 3").got == "'3'"


def test_a_candidate_may_be_called_check(runner: TestRunner) -> None:
    checks = Checks.from_asserts(["assert check(3) == 9", "assert check(4) == 16"])
    assert runner.run("def check(n): return n * n", checks, "check").n_passed == 2
    verdict = runner.run("def check(n): return n", checks, "check")
    assert (verdict.outcome, verdict.failures[0].input, verdict.failures[0].got) == ("failed", "3", "3")
