"""A SQLite database of questions: how the tests of a query open it, and the schema that a prompt shows.

>>> _name("name"), _name("order"), _name("Academic Year")
('name', '"order"', '"Academic Year"')
"""

from __future__ import annotations

import base64
import re
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains.inside import sqlite_program
from mlx_selfdebug.errors import TaskError

MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class Database:
    """A database, as the tests of a query open it."""

    schema: str
    """The ``CREATE TABLE`` statements that a prompt shows."""
    form: Mapping[str, str]
    """A script, or the bytes of a database file as a string; see ``domains/sql.py``."""

    def rows(self, query: str) -> list[list[Any]]:
        """Return the rows of ``query``. Raises sqlite3.Error, also if the query takes too long or does more than read."""
        return sqlite_program.rows_of(self.form, query)

    @cached_property
    def thinned(self) -> Database:
        """Return a copy of the database without every third row of each table."""
        connection = sqlite_program.opened(self.form)
        connection.execute("PRAGMA foreign_keys = OFF")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            try:
                connection.execute(f"DELETE FROM {_quoted(name)} WHERE rowid % 3 = 0")
            except sqlite3.Error:
                continue  # the table has no rowids, or is not a table of rows
        connection.commit()
        return Database(self.schema, _form(connection))


def open_database(path: Path) -> Database:
    """Read a database file. Raises TaskError if it is missing, too large, or not a SQLite database."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TaskError(
                f"{path}: the file is larger than {MAX_BYTES >> 20} MiB, which is more than a test run can be given"
            )
        with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as connection:
            schema = _schema(connection)
            form = _form(connection)
        connection.close()
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file") from None
    except (OSError, sqlite3.Error) as error:
        raise TaskError(f"{path}: not a SQLite database: {error}") from error
    if not schema:
        raise TaskError(f"{path}: the database has no table")
    return Database(schema, form)


def _form(connection: sqlite3.Connection) -> dict[str, str]:
    return {"sqlite": base64.b85encode(zlib.compress(connection.serialize(), 9)).decode()}


def _schema(connection: sqlite3.Connection) -> str:
    """Return a ``CREATE TABLE`` statement per table, with the name and type of each column."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    return "\n".join(_table(connection, name) for (name,) in connection.execute(query).fetchall())


def _table(connection: sqlite3.Connection, name: str) -> str:
    # The last value is 1 for the hidden columns of a virtual table. Columns that are computed are hidden in another way.
    columns = [row for row in connection.execute(f"PRAGMA table_xinfo({_quoted(name)})").fetchall() if row[6] != 1]
    shown = ", ".join(_name(column[1]) + (f" {_type(column[2])}" if column[2] else "") for column in columns)
    return f"CREATE TABLE {_name(name)} ({shown});"


@cache
def _name(name: str) -> str:
    """Return the name of a table or column as SQL, in quotes only if SQLite would read something else without them."""
    if re.fullmatch(r"[^\W\d]\w*", name):
        with closing(sqlite3.connect(":memory:")) as connection, suppress(sqlite3.Error):
            connection.execute(f"CREATE TABLE {name} ({name})")
            connection.execute(f"INSERT INTO {name} VALUES ('~')")
            # Some words are read as a value and not as a name, such as current_date.
            if connection.execute(f"SELECT {name} FROM {name}").fetchone() == ("~",):
                return name
    return _quoted(name)


@cache
def _type(text: str) -> str:
    """Return the type of a column as SQL, in quotes only if SQLite would read something else without them."""
    with closing(sqlite3.connect(":memory:")) as connection, suppress(sqlite3.Error):
        connection.execute(f"CREATE TABLE t (a {text})")
        if [row[1:3] for row in connection.execute("PRAGMA table_info(t)")] == [("a", text)]:
            return text
    return _quoted(text)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
