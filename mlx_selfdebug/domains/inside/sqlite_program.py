"""Run a query on SQLite, which can only read, within limits on its work and its results.

The text of this file is run as a program in the sandbox. ``domains/sql.py`` appends lines that fill ``DATABASES`` and set
``QUERY``. The checks then call ``answer``.
"""

import base64
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

MAX_ROWS = 5_000
"""The maximum number of rows that a query may give."""
MAX_STEPS = 50_000_000
"""The maximum number of instructions of SQLite's virtual machine that a query may take."""
STEPS_PER_CALL = 1_000_000
"""The number of instructions between two calls of the progress handler."""
ALLOWED_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
"""The actions of a query that the authorizer allows. Calls of functions are decided by ``FORBIDDEN_FUNCTIONS``."""
FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
"""The functions that load code, or that reach files or other programs."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,  # bytes of a string or a row
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,  # other databases
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,  # SELECTs that UNION and the like join
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""The limits of SQLite's own that hold for a query."""
DATABASES: dict[str, dict[str, str]] = {}
"""The databases by name. Each has a "script" that creates it, or the bytes of a file as "sqlite" (see ``opened``)."""
QUERY = ""
"""The model's query."""


def answer(database: str) -> list[list[Any]]:
    """Return the rows of ``QUERY`` on the database of this name (``rows_of``)."""
    return rows_of(DATABASES[database], QUERY)


def rows_of(database: Mapping[str, str], query: str) -> list[list[Any]]:
    """Return the rows of the query, each as a list.

    Raises sqlite3.Error if the query fails, does more than reading, or exceeds a limit.
    """
    with closing(opened(database)) as connection:
        connection.set_authorizer(read_only)
        connection.set_progress_handler(Budget(MAX_STEPS), STEPS_PER_CALL)
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        try:
            rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
        except sqlite3.DatabaseError as error:
            raise sqlite3.OperationalError(explained(str(error))) from None
    if len(rows) > MAX_ROWS:
        raise sqlite3.OperationalError(f"more than {MAX_ROWS} rows")
    return [list(row) for row in rows]


def opened(database: Mapping[str, str]) -> sqlite3.Connection:
    """Open a database in memory, made from a "script" of SQL or from a file's bytes, which "sqlite" holds in base 85 of zlib."""
    connection = sqlite3.connect(":memory:")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    if "script" in database:
        connection.executescript(database["script"])
    else:
        connection.deserialize(zlib.decompress(base64.b85decode(database["sqlite"])))
    return connection


def read_only(action: int, _: str | None, second: str | None, *__: str | None) -> int:
    """Return ``SQLITE_OK`` if a query may take this action, and otherwise ``SQLITE_DENY``.

    SQLite calls this authorizer with two details of the action. For the call of a function, the second is the function's name.
    """
    is_function = action == sqlite3.SQLITE_FUNCTION
    is_allowed = action in ALLOWED_ACTIONS or (is_function and (second or "").lower() not in FORBIDDEN_FUNCTIONS)
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY


class Budget:
    """A progress handler that ends a query after about ``steps`` instructions: a call that returns True ends the query."""

    def __init__(self, steps: int) -> None:
        self.steps_left = steps

    def __call__(self) -> bool:
        self.steps_left -= STEPS_PER_CALL
        return self.steps_left < 0


def explained(message: str) -> str:
    """Return a message of SQLite in words that say what the limits of this program are."""
    return {
        "interrupted": "the query takes too long",
        "not authorized": "only reading is allowed: SELECT",
    }.get(message, message)
