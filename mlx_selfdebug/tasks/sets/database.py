"""Read a SQLite database about which questions are asked.

``open_database`` reads a file into a ``Database``: the schema that a prompt shows, and the content in a form that a task can hold.
The schema has names in quotes where SQLite needs them:

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
"""The largest size of a database file."""
_XINFO_NAME, _XINFO_TYPE, _XINFO_HIDDEN = 1, 2, 6
"""The places of the name, the type and the kind of a column in a row of ``PRAGMA table_xinfo``."""
_HIDDEN_OF_VIRTUAL_TABLE = 1
"""The kind of a hidden column of a virtual table. Other columns have 0, or 2 or 3 if they are computed, and are shown."""


@dataclass(frozen=True)
class Database:
    """A database in the form in which it is given to the tests of a query."""

    schema: str
    """The ``CREATE TABLE`` statements that a prompt shows."""
    form: Mapping[str, str]
    """Either ``{"script": ...}`` with the SQL that makes the database, or ``{"sqlite": ...}`` with the bytes of a database file.

    The bytes are compressed by zlib and written in base 85. ``domains/sql.py`` describes how a task holds them.
    """

    def rows(self, query: str) -> list[list[Any]]:
        """Return the rows of ``query``.

        Raises sqlite3.Error if the query does not run, takes too long, or does more than read.
        """
        return sqlite_program.rows_of(self.form, query)

    @cached_property
    def thinned(self) -> Database:
        """A copy of the database without every third row of each table."""
        with closing(sqlite_program.opened(self.form)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                try:
                    connection.execute(f"DELETE FROM {_quoted(name)} WHERE rowid % 3 = 0")
                except sqlite3.Error:
                    continue  # the table has no row ids, or is not a table of rows
            connection.commit()
            return Database(self.schema, _form(connection))


def open_database(path: Path) -> Database:
    """Read a database file. Raises TaskError if it is missing or too large, is not a SQLite database, or has no table."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TaskError(
                f"{path}: the file is larger than {MAX_BYTES >> 20} MiB, which is more than a test run can be given"
            )
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            schema = _schema(connection)
            form = _form(connection)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file") from None
    except (OSError, sqlite3.Error) as error:
        raise TaskError(f"{path}: not a SQLite database: {error}") from error
    if not schema:
        raise TaskError(f"{path}: the database has no table")
    return Database(schema, form)


def _form(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the content of a database as ``Database.form``: the bytes of its file, in a string that JSON can hold."""
    return {"sqlite": base64.b85encode(zlib.compress(connection.serialize(), 9)).decode()}


def _schema(connection: sqlite3.Connection) -> str:
    """Return a ``CREATE TABLE`` statement per table, with the name and type of each column."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    return "\n".join(_table(connection, name) for (name,) in connection.execute(query).fetchall())


def _table(connection: sqlite3.Connection, name: str) -> str:
    """Return the ``CREATE TABLE`` statement of one table."""
    rows = connection.execute(f"PRAGMA table_xinfo({_quoted(name)})").fetchall()
    columns = [
        _name(row[_XINFO_NAME]) + (f" {_type(row[_XINFO_TYPE])}" if row[_XINFO_TYPE] else "")
        for row in rows
        if row[_XINFO_HIDDEN] != _HIDDEN_OF_VIRTUAL_TABLE
    ]
    return f"CREATE TABLE {_name(name)} ({', '.join(columns)});"


@cache
def _name(name: str) -> str:
    """Return the name of a table or column as SQL, in quotes only if SQLite needs them.

    Which words need quotes depends on SQLite's version, so a table of this name is made to find out.
    """
    if re.fullmatch(r"[^\W\d]\w*", name):
        with closing(sqlite3.connect(":memory:")) as connection, suppress(sqlite3.Error):
            connection.execute(f"CREATE TABLE {name} ({name})")
            connection.execute(f"INSERT INTO {name} VALUES ('~')")
            # Some words are valid names but are read as a value, such as current_date.
            if connection.execute(f"SELECT {name} FROM {name}").fetchone() == ("~",):
                return name
    return _quoted(name)


@cache
def _type(text: str) -> str:
    """Return the type of a column as SQL, in quotes only if SQLite needs them. A table with the type is made to find out."""
    with closing(sqlite3.connect(":memory:")) as connection, suppress(sqlite3.Error):
        connection.execute(f"CREATE TABLE t (a {text})")
        if [row[1:3] for row in connection.execute("PRAGMA table_info(t)")] == [("a", text)]:
            return text
    return _quoted(text)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
