"""A change is shown as a diff that git applies, made smaller, and marked if it only special-cases a test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.fixing.change import special_cases, unified_diff, without_hunk
from mlx_selfdebug.fixing.judging import Proposal
from mlx_selfdebug.projects.fitting import fitted
from mlx_selfdebug.projects.source import SourceFile, functions_of, lines_of
from mlx_selfdebug.projects.suite_run import TestFacts, TestResult

BEFORE = "def f(x):\n    y = x + 1\n    z = y * 2\n    return z\n"


def failed(**facts: str) -> list[TestResult]:
    return [TestResult("t", "failed", facts=TestFacts(**facts))]


TEST = failed(message="assert 8 == 7\n +  where 8 = f(3)", op="==", left="8", right="7")


@pytest.mark.parametrize(
    ("after", "marked"),
    [
        (BEFORE.replace("return z", "if x == 3:\n        return 7\n    return z"), True),
        (BEFORE.replace("return z", "return 7"), True),
        (BEFORE.replace("return z", "return z - 1"), False),
        (BEFORE.replace("return z", "if x == 0:\n        return 0\n    return z"), False),
        (BEFORE.replace("return z", "if x > 10:\n        return y\n    return z"), False),
    ],
)
def test_a_condition_on_what_a_test_asks_is_a_special_case(after: str, marked: bool) -> None:
    assert special_cases(BEFORE, after, TEST) is marked


def test_a_comparison_that_was_there_before_is_no_special_case() -> None:
    before = BEFORE.replace("return z", "if x == 3:\n        return y\n    return z")
    assert not special_cases(before, before.replace("x + 1", "x - 1"), TEST)


def test_the_parameters_of_a_case_count_as_what_the_test_asks() -> None:
    test = [TestResult("t", "failed", parameters={"x": "'abc'"}, facts=TestFacts("ValueError"))]
    assert special_cases(BEFORE, BEFORE.replace("return z", "return z if x != 'abc' else None"), test)


def test_each_stretch_of_a_change_can_be_taken_back() -> None:
    (function,) = functions_of(SourceFile("m.py", BEFORE, "utf-8"))
    program = BEFORE.replace("x + 1", "x + 3").replace("return z", "return y")
    smaller = {p.program for p in without_hunk(Proposal(function, program, "fork"))}
    assert smaller == {BEFORE.replace("x + 1", "x + 3"), BEFORE.replace("return z", "return y")}


@given(
    st.lists(st.sampled_from(["a", "b", "c\r", ""]), max_size=6),
    st.lists(st.sampled_from(["a", "b", "d"]), max_size=6),
    st.booleans(),
)
def test_git_applies_the_diff(old: list[str], new: list[str], ends_open: bool) -> None:
    import tempfile

    before, after = "".join(f"{line}\n" for line in old), "\n".join(new) + ("" if ends_open or not new else "\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.py")
        path.write_bytes(before.encode())
        diff = unified_diff(lines_of(before), lines_of(after), "m.py")
        if not diff or not before or not after:
            return
        subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], input=diff.encode(), cwd=folder, check=True)
        assert path.read_bytes() == after.encode()


DOCUMENTED = 'class A:\n    @property\n    def f(self):\n        """Say it."""\n        # Now.\n        return self.x\n'


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    def f(self):\n        return self.y\n",
        "def f(self):\n    return self.y\n",
        "class A:\n    def __init__(self):\n        self.y = 1\n\n    def f(self):\n        return self.y\n",
    ],
)
def test_a_draft_is_fitted_to_the_function_with_its_docstring_and_decorators(code: str) -> None:
    (function,) = functions_of(SourceFile("m.py", DOCUMENTED, "utf-8"))
    assert function.spliced(fitted(function, code) or "") == DOCUMENTED.replace("self.x", "self.y")


@pytest.mark.parametrize("margin", ["", "    "])
def test_the_lines_of_a_string_stay_as_the_draft_has_them(margin: str) -> None:
    body = 'x = """a\n  b\nc"""\n{}return x + str(\n{}  1\n{})\n'
    (function,) = functions_of(SourceFile("m.py", DOCUMENTED, "utf-8"))
    head = f"{margin and 'class A:'}\n{margin}def f(self):\n{margin}    "
    draft = head + body.format(*[f"{margin}    "] * 3)
    expected = DOCUMENTED.replace("return self.x\n", body.format(*[" " * 8] * 3))
    assert function.spliced(fitted(function, draft) or "") == expected


@pytest.mark.parametrize(
    "code", ["", "def g(self):\n    return 1\n", "def f(self:\n", "async def f(self):\n    return 1\n"]
)
def test_a_draft_without_the_function_is_dropped(code: str) -> None:
    (function,) = functions_of(SourceFile("m.py", DOCUMENTED, "utf-8"))
    assert fitted(function, code) is None
