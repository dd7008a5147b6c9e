"""SQL: what a query may do, how rows are compared, and what a model is told."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.inside.rows import difference
from mlx_selfdebug.domains.sql import is_ordered, rows_checks
from mlx_selfdebug.tasks import Task
from tests.domains.neighbours import fractions, integers, pairs, words

SCRIPT = "CREATE TABLE t(a INTEGER, b TEXT); INSERT INTO t VALUES (1,'x'),(2,'y'),(3,NULL);"


def task(rows: list[list[object]], *, ordered: bool = False, domain: str = "sql") -> Task:
    checks = rows_checks({"a": rows}, ordered=ordered)
    data = json.dumps({"a": {"script": SCRIPT}})
    return Task("t", domain, "Which rows?", "answer", SCRIPT, public=checks, hidden=checks, data=data)


DOMAINS = pytest.mark.parametrize("domain", ["sql", "duckdb"])


@DOMAINS
def test_rows_are_compared_as_a_multiset(told, domain):
    rows = [[3, None], [1, "x"], [2, "y"]]
    assert told(task(rows, domain=domain), "SELECT a, b FROM t") == ""


@DOMAINS
def test_their_order_counts_where_the_reference_has_one(told, domain):
    rows = [[3], [2], [1]]
    assert told(task(rows, ordered=True, domain=domain), "SELECT a FROM t ORDER BY a DESC") == ""
    said = told(task(rows, ordered=True, domain=domain), "SELECT a FROM t ORDER BY a")
    assert said == "Wrong rows: the right rows in the wrong order: row 1 is (3), not (1)"


@DOMAINS
def test_missing_and_extra_rows_are_told(told, domain):
    said = told(task([[2], [3]], domain=domain), "SELECT a FROM t WHERE a < 3")
    assert said == "Wrong rows: 2 rows expected, got 2; missing: (3); not expected: (1)"


@DOMAINS
def test_a_row_that_occurs_twice_is_not_one_that_occurs_once(told, domain):
    said = told(task([[1], [1]], domain=domain), "SELECT 1")
    assert said == "Wrong rows: 2 rows expected, got 1; missing: (1)"


@DOMAINS
def test_a_wrong_number_of_columns_is_told(told, domain):
    assert told(task([[1]], domain=domain), "SELECT 1, 2") == "Wrong rows: 1 column expected, got 2"


@DOMAINS
def test_whole_numbers_equal_the_same_with_a_point(told, domain):
    assert told(task([[2]], domain=domain), "SELECT avg(a) FROM t") == ""


tables = st.lists(st.lists(integers | fractions | words | st.none(), min_size=2, max_size=2), min_size=1, max_size=4)


@given(pairs(tables), st.booleans())
def test_no_rows_that_are_close_to_the_right_ones_are_the_same(pair: tuple[Any, Any], ordered: bool):
    rows, close = pair
    assert difference(close, rows, ordered) != ""


@given(tables, st.randoms())
def test_rows_are_the_same_in_any_order_and_after_rounding(rows: list[list[Any]], random):
    others = [[value + value * 1e-15 if isinstance(value, float) else value for value in row] for row in rows]
    random.shuffle(others)
    assert difference(others, rows, False) == ""


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (True, 1),
        (0, False),
        (1_000_001, 1_000_000),
        (1_000_001.0, 1_000_000),
        (12_345_678.91, 12_345_678.90),
        (1e-10, 2e-10),
        (2**63, 2**63 + 1),
        (math.inf, 5.0),
        (math.inf, -math.inf),
        ("NaN", math.nan),
        ("1", 1),
        ([1, True], [1, 1]),
        ({"a": 1}, {"a": True}),
    ],
)
def test_values_that_are_close_are_not_equal(got: object, expected: object):
    assert difference([[got]], [[expected]], True) != ""


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (2.0, 2),
        (0.1 + 0.2, 0.3),
        (0.33000001311302185, 0.33),
        (math.inf, math.inf),
        (math.nan, math.nan),
        (1e17 + 64, 1e17),
        ((1, 2.0), [1, 2]),
        (None, None),
    ],
)
def test_values_are_equal_but_for_rounding(got: object, expected: object):
    assert difference([[got]], [[expected]], True) == ""


def test_a_number_that_is_a_little_off_is_told():
    said = difference([[1, 12345678.91], [1, 2]], [[1, 2], [1, 12345678.93]], False)
    assert said == "a number is a little off: row 1 is (1, 12345678.93), not (1, 12345678.91)"


def test_infinity_can_be_expected(told):
    assert told(task([[math.inf]]), "SELECT 9e999") == ""


def test_a_boolean_of_duckdb_is_no_number(told):
    said = told(task([[1]], domain="duckdb"), "SELECT true")
    assert said == "Wrong rows: 1 row expected, got 1; missing: (1); not expected: (True)"


@pytest.mark.parametrize(
    ("rows", "query"),
    [
        ([[True]], "SELECT true"),
        ([[["1", "2024-01-02"]]], "SELECT [1::VARCHAR, (DATE '2024-01-02')::VARCHAR]"),
        ([[["2024-01-02"]]], "SELECT [DATE '2024-01-02']"),
        ([[{"a": 0.5}]], "SELECT {'a': 0.5::DECIMAL(3, 1)}"),
        ([["00000000-0000-0000-0000-000000000001"]], "SELECT '00000000-0000-0000-0000-000000000001'::UUID"),
    ],
)
def test_lists_structs_and_ids_of_duckdb_are_plain_values(told, rows, query):
    assert told(task(rows, domain="duckdb"), query) == ""


def test_an_unknown_column_is_told_in_the_databases_words(told):
    assert told(task([[1]]), "SELECT c FROM t") == "Error: no such column: c"


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE t",
        "INSERT INTO t VALUES (4, 'z')",
        "ATTACH 'other.db' AS other",
        "PRAGMA table_info(t)",
        "SELECT load_extension('x')",
        "VACUUM INTO 'copy.db'",
        "CREATE TEMP TABLE u AS SELECT 1",
    ],
)
def test_sqlite_does_nothing_but_read(told, query):
    assert told(task([[1]]), query).startswith("Error: ")


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE t",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY t TO '/tmp/t.csv'",
        "SET threads = 4",
        "SELECT 1; SELECT 2",
    ],
)
def test_duckdb_does_nothing_but_read_its_own_tables(told, query):
    assert told(task([[1]], domain="duckdb"), query).startswith("Error: ")


def test_a_query_that_never_ends_is_ended(told):
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    assert told(task([[1]]), endless) == "Error: the query takes too long"


def test_two_statements_are_refused(told):
    assert "one statement at a time" in told(task([[1]]), "SELECT 1; SELECT 2")


def test_an_empty_answer_is_wrong(told):
    assert told(task([[1]]), "") != ""


def test_the_prompt_shows_the_schema_and_never_the_rows():
    shown = domain_of("sql").prompt(task([[41, "secret"]]))
    assert "CREATE TABLE t(a INTEGER, b TEXT)" in shown
    assert "secret" not in shown


def test_a_query_in_a_fence_or_before_one_is_taken_out():
    domain = domain_of("sql")
    for text in ("SELECT 1\n```", "```sql\nSELECT 1\n```", "Sure:\n```\nSELECT 1\n```\nDone.", "SELECT 1<|im_end|>x"):
        assert domain.extract(text, task([[1]])).code == "SELECT 1\n"


def test_queries_are_equal_whatever_their_case_layout_and_comments():
    domain = domain_of("sql")
    assert domain.normalise("select A\nfrom t -- all\n;") == domain.normalise("SELECT a FROM T")
    assert domain.normalise("SELECT 'A'") != domain.normalise("SELECT 'a'")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT 'order by' FROM t", False),
        ("SELECT a FROM t -- ORDER BY a", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM t UNION SELECT 1 ORDER\nBY 1", True),
    ],
)
def test_only_the_outermost_order_counts(query, expected):
    assert is_ordered(query) is expected
