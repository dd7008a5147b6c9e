"""Data frames of pandas and polars: compared by columns, dtypes and values."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.inside.frames import DataFrame, alike, difference
from mlx_selfdebug.tasks import Checks, Task
from tests.domains.neighbours import close_to, fractions, integers, json_values, pairs, words

CHECK = "assert doubled(DataFrame({'a': [1, 2], 'b': ['x', 'y']})) == DataFrame({'a': [2, 4], 'b': ['x', 'y']})"
CALL = "DataFrame({'a': [1, 2], 'b': ['x', 'y']})"


SETUP = "from datetime import UTC, date, datetime, time, timedelta, timezone\nfrom decimal import Decimal\n"


def task(domain: str, check: str = CHECK) -> Task:
    checks = Checks.from_asserts([check], SETUP)
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


COLUMNS = {
    "whole numbers": "[1, None]",
    "floats": "[1.5, None]",
    "NaN": "[1.5, float('nan')]",
    "booleans": "[True, None]",
    "texts": "['a', None]",
    "dates": "[date(2024, 1, 2), None]",
    "datetimes": "[datetime(2024, 1, 2, 3), None]",
    "aware datetimes": "[datetime(2024, 1, 2, 3, tzinfo=UTC), None]",
    "lengths of time": "[timedelta(hours=30), None]",
    "times": "[time(1, 2), None]",
    "decimals": "[Decimal('1.5'), None]",
    "lists": "[[1, 2], None]",
    "nothing": "[None, None]",
}


@pytest.mark.parametrize("domain", RIGHT)
@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
def test_a_column_that_is_returned_as_it_was_given_is_right(told, domain, values):
    check = f"assert doubled(DataFrame({{'a': {values}}})) == DataFrame({{'a': {values}}})"
    assert told(task(domain, check), body("return frame")) == ""


def returning(values: str, dtypes: str = "None") -> str:
    return f"assert doubled(DataFrame({{'a': [1, 2]}})) == DataFrame({{'a': {values}}}, {dtypes})"


@pytest.mark.parametrize(
    ("domain", "values", "code"),
    [
        ("pandas", "[7, None]", "return pd.DataFrame({'a': [7.0, None]})"),
        ("pandas", "[7, None]", "return pd.DataFrame({'a': pd.array([7, None], dtype='Int64')})"),
        ("pandas", "[True, None]", "return pd.DataFrame({'a': pd.array([True, None], dtype='boolean')})"),
        ("pandas", "['x', 'y']", "return pd.DataFrame({'a': pd.Categorical(['x', 'y'])})"),
        ("pandas", "[3, 4]", "return pd.DataFrame({'a': pd.Categorical([3, 4])})"),
        ("pandas", "[datetime(2024, 1, 2)]", "return pd.DataFrame({'a': pd.to_datetime(['2024-01-02'])})"),
        ("pandas", "[date(2024, 1, 2)]", "return pd.DataFrame({'a': pd.to_datetime(pd.Series(['2024-01-02'])).dt.date})"),
        (
            "pandas",
            "[datetime(2024, 7, 1, tzinfo=timezone(timedelta(hours=2)))]",
            "return pd.DataFrame({'a': pd.to_datetime(['2024-07-01']).tz_localize('Europe/Paris')})",
        ),
        ("pandas", "[timedelta(days=2)]", "return pd.DataFrame({'a': pd.to_timedelta(['2 days'])})"),
        ("polars", "['x', 'y']", "return pl.DataFrame({'a': pl.Series(['x', 'y'], dtype=pl.Categorical)})"),
        ("polars", "['x', 'y']", "return pl.DataFrame({'a': pl.Series(['x', 'y'], dtype=pl.Enum(['x', 'y']))})"),
        ("polars", "[datetime(2024, 1, 2, tzinfo=UTC)]", "return pl.DataFrame({'a': [datetime.datetime(2024, 1, 2)]}).with_columns(pl.col('a').dt.replace_time_zone('UTC'))"),
        ("polars", "[2.5, 1]", "return pl.DataFrame({'a': [2.5, 1.0]})"),
    ],
)  # fmt: skip
def test_what_a_library_makes_of_values_is_right(told, domain, values, code):
    assert told(task(domain, returning(values)), "import datetime\n" + body(code)) == ""


@pytest.mark.parametrize(
    ("domain", "values", "code", "said"),
    [
        ("polars", "[7, None]", "return pl.DataFrame({'a': [7.0, None]})", "column a has dtype float, int is expected"),
        ("pandas", "[7, 8]", "return pd.DataFrame({'a': [7.0, 8.0]})", "column a has dtype float, int is expected"),
        ("pandas", "[7, 8]", "return pd.DataFrame({'a': [7, 8]}, dtype=object)", "column a has dtype object, int is"),
        ("pandas", "[1]", "return pd.DataFrame({'a': pd.Categorical(['1'])})", "dtype category of str, int is expected"),
        ("pandas", "[True, None]", "return pd.DataFrame({'a': [1.0, None]})", "column a has dtype float, bool is expected"),
        ("pandas", "[date(2024, 1, 2)]", "return pd.DataFrame({'a': pd.to_datetime(['2024-01-02'])})", "dtype datetime, date is"),
        ("pandas", "[datetime(2024, 1, 2, tzinfo=UTC)]", "return pd.DataFrame({'a': pd.to_datetime(['2024-01-02'])})", "row 0 of a"),
        ("polars", "[[True]]", "return pl.DataFrame({'a': [[1]]})", "row 0 of a: [True] expected, got [1]"),
    ],
)  # fmt: skip
def test_what_is_close_to_the_right_column_is_wrong(told, domain, values, code, said):
    assert said in told(task(domain, returning(values)), body(code))


@pytest.mark.parametrize(
    ("domain", "other"), [("pandas", "frame.astype('category')"), ("polars", "frame.cast(pl.Categorical)")]
)
def test_a_category_is_given_and_expected_where_the_check_names_it(told, domain, other):
    column = "DataFrame({'a': ['x', 'y']}, {'a': 'category'})"
    check = f"assert doubled({column}) == {column}"
    assert told(task(domain, check), body("return frame")) == ""
    plain = f"assert doubled(DataFrame({{'a': ['x', 'y']}})) == {column}"
    assert told(task(domain, plain), body(f"return {other}")) == ""
    assert "column a has dtype str, category is expected" in told(task(domain, plain), body("return frame"))


@pytest.mark.parametrize(
    ("domain", "expected", "code"),
    [
        ("pandas", "3", "frame['a'].sum()"),
        ("pandas", "True", "frame['a'].gt(0).all()"),
        ("pandas", "[1, 2]", "frame['a'].unique()"),
        ("pandas", "['x', 'y']", "frame['b'].unique()"),
        ("pandas", "['a', 'b']", "frame.columns"),
        ("pandas", "[1]", "frame['a'].to_numpy()[:1]"),
        ("pandas", "{'x': 1, 'y': 2}", "dict(frame.groupby('b')['a'].sum())"),
        ("pandas", "(1, None)", "(frame['a'].min(), float('nan'))"),
        ("pandas", "datetime(2024, 1, 2)", "pd.Timestamp('2024-01-02')"),
        ("pandas", "[datetime(2024, 1, 2)]", "pd.to_datetime(['2024-01-02']).to_numpy()"),
        ("pandas", "date(2024, 1, 2)", "pd.Timestamp('2024-01-02').to_numpy().astype('datetime64[D]')"),
        ("pandas", "[date(2024, 1, 2)]", "pd.to_datetime(['2024-01-02']).to_numpy().astype('datetime64[D]')"),
        ("pandas", "timedelta(hours=1)", "pd.Timedelta('1h').to_numpy()"),
        ("pandas", "[2, DataFrame({'a': [1]})]", "[len(frame), frame[['a']].head(1)]"),
        ("polars", "(1.5, DataFrame({'a': [1]}))", "(frame['a'].mean(), frame.select('a').head(1))"),
        ("polars", "{'a': 3}", "{'a': frame['a'].sum()}"),
    ],
)
def test_a_plain_value_of_a_library_is_compared_by_value(told, domain, expected, code):
    assert told(task(domain, f"assert doubled({CALL}) == {expected}"), body(f"return {code}")) == ""


@pytest.mark.parametrize(
    ("expected", "code"), [("True", "1"), ("[1]", "[True]"), ("{'a': 1}", "{'a': True}"), ("5", "[5]")]
)
def test_a_plain_value_of_another_type_is_wrong(told, expected, code):
    check = f"assert doubled({CALL}) == {expected}"
    assert "Wrong result" in told(task("pandas", check), body(f"return {code}"))
    twice = f"assert doubled({CALL}) == {expected} and doubled({CALL}) == {expected}"
    assert told(task("pandas", twice), body(f"return {code}")) != ""


@pytest.mark.parametrize("code", ["pd.Timestamp(1).to_numpy()", "pd.to_datetime([1]).to_numpy()", "pd.Timestamp(1)"])
def test_nanoseconds_are_not_cut_off(told, code):
    expected = f"{'[datetime(1970, 1, 1)]' if '[' in code else 'datetime(1970, 1, 1)'}"
    assert told(task("pandas", f"assert doubled({CALL}) == {expected}"), body(f"return {code}")) != ""


def test_columns_that_are_cut_short_are_no_frame(told):
    forged = "return {'frame': [['a', 'int', [0, 0]], ['b', 'any', []]]}"
    assert "2 rows expected, got 0" in told(task("pandas"), body(forged))


@pytest.mark.parametrize("name", ["datetime", "time", "Any", "unboxed", "KINDS", "import_module"])
def test_names_of_the_answer_keep_their_meaning(told, name):
    code = f"{name} = 7\n\n\n{body(f'return {name}')}"
    assert told(task("pandas", f"assert doubled({CALL}) == 7"), code) == ""


def test_names_of_columns_keep_their_types(told):
    frame = "DataFrame({0: [1], 'b': [2]})"
    assert told(task("pandas", f"assert doubled({frame}) == {frame}"), body("return frame")) == ""
    said = told(task("pandas", f"assert doubled({frame}) == {frame}"), body("return frame.rename(columns=str)"))
    assert "columns expected: 0, b; got: 0, b" in said


def frames(n_rows: int) -> st.SearchStrategy[dict[str, list[Any]]]:
    columns = [st.lists(kind, min_size=n_rows, max_size=n_rows) for kind in (integers, fractions, words)]
    return st.dictionaries(words, st.one_of(columns), min_size=1, max_size=2)


@given(st.integers(1, 3).flatmap(frames), st.data())
def test_no_frame_that_is_close_to_the_right_one_is_the_same(frame: dict[str, list[Any]], data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(frame)))
    close = data.draw(st.composite(lambda draw: close_to(draw, frame[name]))())
    assert difference(DataFrame({**frame, name: close}), DataFrame(frame)) != ""


@given(pairs(json_values))
def test_no_plain_value_that_is_close_to_the_right_one_is_alike(pair: tuple[Any, Any]):
    value, close = pair
    assert not alike(close, value)


@pytest.mark.parametrize(
    ("a", "b"), [(10**10, 10**10 + 1), (1e10, 1e10 + 1), (1e-10, 2e-10), (float("inf"), 1.0), (datetime.date(2024, 1, 1), "2024-01-01")]
)  # fmt: skip
def test_numbers_that_differ_are_not_alike(a: object, b: object):
    assert not alike(a, b)


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
