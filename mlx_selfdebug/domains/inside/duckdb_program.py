"""The program that runs a query on DuckDB in a test run. The domain sets ``DATABASES`` and ``QUERY`` in lines after it."""

import datetime
import decimal
import uuid
from typing import Any

import duckdb

MAX_ROWS = 5_000
DATABASES: dict[str, dict[str, str]] = {}
QUERY = ""


def answer(database: str) -> list[list[Any]]:
    """Return the rows of the query, each as a list. Raises duckdb.Error."""
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    connection.execute(DATABASES[database]["script"])
    for setting in ("enable_external_access=false", "lock_configuration=true"):
        connection.execute(f"SET {setting}")
    statements = connection.extract_statements(QUERY)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.Error("one statement that only reads is allowed: SELECT")
    rows = connection.execute(statements[0]).fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise duckdb.Error(f"more than {MAX_ROWS} rows")
    return [[plain(value) for value in row] for row in rows]


def plain(value: Any) -> Any:
    """Return the value as SQLite would give it: a date as a string, a decimal as a float. Lists and structs keep their parts."""
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, decimal.Decimal):
        return float(value)
    text = datetime.date | datetime.time | datetime.timedelta | uuid.UUID
    return str(value) if isinstance(value, text) else value
