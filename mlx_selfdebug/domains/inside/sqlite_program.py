"""The program that runs a query on SQLite in a test run. The query can only read, and only within limits.

The domain sets ``DATABASES`` and ``QUERY`` in lines after it.
"""

import base64
import sqlite3
import zlib
from collections.abc import Mapping
from typing import Any

MAX_ROWS = 5_000
MAX_STEPS = 50_000_000
"""The number of instructions of SQLite's virtual machine after which a query is ended."""
STEPS_PER_CALL = 1_000_000
"""The number of instructions between two calls of the progress handler."""
ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
}
FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
DATABASES: dict[str, dict[str, str]] = {}
QUERY = ""


def answer(database: str) -> list[list[Any]]:
    return rows_of(DATABASES[database], QUERY)


def rows_of(database: Mapping[str, str], query: str) -> list[list[Any]]:
    """Return the rows of the query, each as a list. Raises sqlite3.Error."""
    connection = opened(database)
    connection.set_authorizer(read_only)
    connection.set_progress_handler(Budget(MAX_STEPS), STEPS_PER_CALL)
    for limit, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.setlimit(limit, value)
    try:
        rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
    except sqlite3.DatabaseError as error:
        raise sqlite3.OperationalError(explained(str(error))) from None
    if len(rows) > MAX_ROWS:
        raise sqlite3.OperationalError(f"more than {MAX_ROWS} rows")
    return [list(row) for row in rows]


def opened(database: Mapping[str, str]) -> sqlite3.Connection:
    """Open a database in memory, made from a script or from the bytes of a database file."""
    connection = sqlite3.connect(":memory:")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    if "script" in database:
        connection.executescript(database["script"])
    else:
        connection.deserialize(zlib.decompress(base64.b85decode(database["sqlite"])))
    return connection


def read_only(action: int, _: str | None, second: str | None, *__: str | None) -> int:
    allowed = action in ALLOWED or (
        action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in FORBIDDEN_FUNCTIONS
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


class Budget:
    """A progress handler that ends a query after about ``steps`` instructions."""

    def __init__(self, steps: int) -> None:
        self.steps_left = steps

    def __call__(self) -> bool:
        self.steps_left -= STEPS_PER_CALL
        return self.steps_left < 0


def explained(message: str) -> str:
    return {
        "interrupted": "the query takes too long",
        "not authorized": "only reading is allowed: SELECT",
    }.get(message, message)
