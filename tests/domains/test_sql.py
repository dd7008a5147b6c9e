"""SQL: what a query may do, how rows are compared, and what a model is told."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.sql import is_ordered, rows_checks
from mlx_selfdebug.tasks import Task

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
