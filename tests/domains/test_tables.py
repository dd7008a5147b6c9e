"""Data frames of pandas and polars: compared by columns, dtypes and values."""

from __future__ import annotations

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.inside.frames import DataFrame, difference
from mlx_selfdebug.tasks import Checks, Task

CHECK = "assert doubled(DataFrame({'a': [1, 2], 'b': ['x', 'y']})) == DataFrame({'a': [2, 4], 'b': ['x', 'y']})"
CALL = "DataFrame({'a': [1, 2], 'b': ['x', 'y']})"


def task(domain: str, check: str = CHECK) -> Task:
    checks = Checks.from_asserts([check])
    module = {"pandas": "pandas as pd", "polars": "polars as pl"}[domain]
    return Task(
        "t", domain, "Double a.", "doubled", f"import {module}\n\n\ndef doubled(frame):", public=checks, hidden=checks
    )


def body(code: str) -> str:
    return f"def doubled(frame):\n    {code}\n"


RIGHT = {
    "pandas": body("return frame.assign(a=frame['a'] * 2)"),
    "polars": body("return frame.with_columns(pl.col('a') * 2)"),
}


@pytest.mark.parametrize("domain", RIGHT)
def test_the_right_frame_passes(told, domain):
    assert told(task(domain), RIGHT[domain]) == ""


@pytest.mark.parametrize(
    ("domain", "code", "said"),
    [
        ("pandas", "return frame['a'] * 2", "Wrong result: a DataFrame is expected, got a Series"),
        (
            "pandas",
            "return frame.assign(a=frame['a'] * 2.0)",
            "Wrong result: column a has dtype float, int is expected",
        ),
        ("pandas", "return frame[['b']]", "Wrong result: columns expected: a, b; got: b"),
        ("pandas", "return frame.head(1) ", "Wrong result: 2 rows expected, got 1; row 0 of a: 2 expected, got 1"),
        ("pandas", "return frame.nothing", "Error: AttributeError: 'DataFrame' object has no attribute 'nothing'"),
        ("pandas", "return None", "Wrong result: a DataFrame is expected, got nothing"),
        ("polars", "return frame", "Wrong result: row 0 of a: 2 expected, got 1; row 1 of a: 4 expected, got 2"),
        ("polars", "return frame.select('b', pl.col('a') * 2)", "Wrong result: columns expected: a, b; got: b, a"),
        (
            "polars",
            "return frame.with_columns(pl.col('a') * 2.5)",
            "Wrong result: column a has dtype float, int is expected",
        ),
    ],
)
def test_what_differs_is_told(told, domain, code, said):
    lines = told(task(domain), body(code)).split("\n")
    assert lines[:2] == ["Test failed:", f"Input: {CALL}"]
    assert lines[2].startswith(said)


@pytest.mark.parametrize("domain", RIGHT)
def test_a_function_of_another_name_is_missing(judge, domain):
    assert judge(task(domain), "def other(frame):\n    return frame\n").outcome == "missing_entry"


def test_the_index_does_not_count(told):
    assert told(task("pandas"), body("return frame.assign(a=frame['a'] * 2).set_axis([7, 7])")) == ""


def test_missing_values_are_values(told):
    check = "assert doubled(DataFrame({'a': [1.0, None]})) == DataFrame({'a': [2.0, None]})"
    assert told(task("pandas", check), RIGHT["pandas"]) == ""
    assert told(task("polars", check), RIGHT["polars"]) == ""
    assert "row 1 of a: a missing value expected, got 0.0" in told(
        task("pandas", check), body("return (frame * 2).fillna(0)")
    )


def test_a_check_of_a_plain_value_compares_plain_values(told):
    check = "assert doubled(DataFrame({'a': [1, 2]})) == 3"
    assert told(task("pandas", check), body("return frame['a'].sum()")) == ""
    assert "Wrong result: expected 3, got 2" in told(task("pandas", check), body("return len(frame)"))


@pytest.mark.parametrize(
    ("got", "expected", "said"),
    [
        ({"a": [1]}, {"a": [1]}, ""),
        ({"a": []}, {"a": [1]}, "1 rows expected, got 0"),
        ({"a": [True]}, {"a": [1]}, "column a has dtype bool, int is expected; row 0 of a: 1 expected, got True"),
        ({"a": [0.1 + 0.2]}, {"a": [0.3]}, ""),
        ({"a": [1, 2, 3, 4, 5]}, {"a": [0, 0, 0, 0, 0]}, "and 2 more cells"),
        ({}, {"a": [1]}, "columns expected: a; got: none"),
        ({"a": ["1"]}, {"a": [1]}, "row 0 of a: 1 expected, got '1'"),
    ],
)
def test_a_difference_is_said_or_there_is_none(got, expected, said):
    found = difference(DataFrame(got), DataFrame(expected))
    assert said in found
    assert bool(found) == bool(said)


def test_the_prompt_shows_the_check_as_it_stands():
    assert CHECK in domain_of("pandas").prompt(task("pandas"))
