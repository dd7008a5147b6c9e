"""Why a test failed, in the words of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.projects.facts import Span, failure_of, source_of_tests
from mlx_selfdebug.projects.suite_run import FAILED, PASSED, Frame, TestFacts, TestResult

SPAN = Span("m.py", 1, 2, "def f(x):\n    return 2\n")


def failed(folder: Path, statement: str, facts: TestFacts) -> TestResult:
    path = folder / "test_m.py"
    path.write_text(f"def test_f():\n    {statement}\n")
    frames = (Frame(str(path), 2, "test_f"), *facts.frames)
    return TestResult(
        "test_m.py::test_f", FAILED, str(path), "test_f", 1, facts=TestFacts(**{**vars(facts), "frames": frames})
    )


@pytest.mark.parametrize(
    ("statement", "left", "right"),
    [
        ("assert f(1) == 3", "2", "3"),
        ("assert 3 == f(1)", "3", "2"),
        ("assert expected == f(1)", "3", "2"),
        ("assert result == expected", "2", "3"),
        ("assert result == 3", "2", "3"),
        ("self.assertEqual(f(1), expected)", "2", "3"),
        ("self.assertEqual(expected, f(1))", "3", "2"),
    ],
)
def test_what_was_expected_is_the_side_that_calls_nothing(
    tmp_path: Path, statement: str, left: str, right: str
) -> None:
    facts = TestFacts("AssertionError", "assert 2 == 3", "==", left, right)
    failure = failure_of(failed(tmp_path, statement, facts), SPAN, tmp_path)
    assert (failure.check, failure.got, failure.expected, failure.error) == (statement, "2", "3", None)


def test_the_message_of_numpy_has_both_numbers(tmp_path: Path) -> None:
    message = "\nItems are not equal:\n ACTUAL: np.float64(2.0)\n DESIRED: 3.0"
    test = failed(tmp_path, "assert_equal(f(1), 3.0)", TestFacts("AssertionError", message))
    failure = failure_of(test, SPAN, tmp_path)
    assert (failure.got, failure.expected) == ("np.float64(2.0)", "3.0")


def test_an_error_in_the_code_under_test_has_its_line(tmp_path: Path) -> None:
    frames = (Frame(str(tmp_path / "m.py"), 2, "f"), Frame("other.py", 7, "g"))
    test = failed(tmp_path, "assert f(1) == 3", TestFacts("ValueError", "no", frames=frames))
    error = failure_of(test, SPAN, tmp_path).error
    assert error is not None
    assert (error.type, error.message, error.line, error.source) == ("ValueError", "no", 2, "return 2")


def test_the_line_of_a_match_stands_for_no_check(tmp_path: Path) -> None:
    statement = "match f(1):\n        case 2:\n            assert True"
    failure = failure_of(failed(tmp_path, statement, TestFacts("ValueError", "no")), SPAN, tmp_path)
    assert failure.check == ""


def test_a_test_that_passed_is_shown_whole_with_the_parameters_of_its_cases(tmp_path: Path) -> None:
    path = tmp_path / "test_m.py"
    path.write_text('def test_f(x):\n    """Say it."""\n    y = x\n    assert f(y) == 2\n')
    cases = [
        TestResult(f"test_m.py::test_f[{x}]", PASSED, str(path), f"test_f[{x}]", 1, {"x": f"array([{x},\n 2])"})
        for x in (1, 2)
    ]
    shown = source_of_tests(cases, tmp_path, max_tests=1, max_statements=9)
    assert shown == (
        "# with x=array([1,  2])\n# with x=array([2,  2])\ndef test_f(x):\n    y = x\n    assert f(y) == 2"
    )
