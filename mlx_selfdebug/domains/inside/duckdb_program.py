"""Run a query on DuckDB.

The text of this file is run as a program in the sandbox. ``domains/sql.py`` appends lines that fill ``DATABASES`` and set
``QUERY``. The checks then call ``answer``.
"""

import datetime
import decimal
import uuid
from typing import Any

import duckdb

MAX_ROWS = 5_000
"""The maximum number of rows that a query may give."""
DATABASES: dict[str, dict[str, str]] = {}
"""The databases by name. Each has a "script" that creates it."""
QUERY = ""
"""The model's query."""


def answer(database: str) -> list[list[Any]]:
    """Return the rows of ``QUERY`` on the database of this name, each as a list.

    Raises duckdb.Error if the query fails, is not a single SELECT, or gives more than ``MAX_ROWS`` rows.
    """
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    connection.execute(DATABASES[database]["script"])
    # From here on, the query cannot reach files or the network, and it cannot change that.
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
    """Return the value as SQLite would give it: a date as a string, a decimal as a float, and so on in lists and structs."""
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | uuid.UUID):
        return str(value)
    return value
