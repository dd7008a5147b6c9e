"""The program of a test run of SQL on DuckDB. ``DATABASES`` and ``QUERY`` are set behind it."""

import datetime
import decimal
from typing import Any

import duckdb

MAX_ROWS = 5_000
DATABASES: dict[str, dict[str, str]] = {}
QUERY = ""


def answer(database: str) -> list[list[Any]]:
    """The rows of the query, each a list. Raises duckdb.Error."""
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    connection.execute(DATABASES[database]["script"])
    for setting in ("enable_external_access=false", "lock_configuration=true"):
        connection.execute(f"SET {setting}")
    statements = connection.extract_statements(QUERY)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.Error("one statement that only reads is allowed: SELECT")
    found = connection.execute(statements[0]).fetchmany(MAX_ROWS + 1)
    if len(found) > MAX_ROWS:
        raise duckdb.Error(f"more than {MAX_ROWS} rows")
    return [[plain(value) for value in row] for row in found]


def plain(value: Any) -> Any:
    """As SQLite would have it: dates are texts, decimals numbers."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    return str(value) if isinstance(value, datetime.date | datetime.time | datetime.timedelta) else value
