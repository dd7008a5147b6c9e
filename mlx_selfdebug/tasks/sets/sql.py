"""Questions over databases, in the formats of GeoQuery and Spider, and the garden family, which comes with the package.

The rows of the reference query are the expected rows, so a query that does not run, or takes too long, is a problem of the file. If
there is a single database, the hidden checks use all of it, and the public checks use a copy without every third row of each table.
What a repair is told about the rows is therefore never what scores.

- **GeoQuery** (Zelle and Mooney, 1996; as SQL by Finegan-Dollak et al., 2018) is ``geoquery:FOLDER`` with geography.json and
  geography.sqlite. Two of its queries, for five questions, are not in SQLite's SQL.
- **Spider** (Yu et al., 2018) is ``spider:FILE.json``, a JSON array of ``db_id``, ``question`` and ``query``. The databases are
  beside the file as ``database/DB_ID/DB_ID.sqlite``. Your own questions can have the same format.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains.inside import sqlite_program
from mlx_selfdebug.domains.sql import is_ordered, rows_checks
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.sets.records import Record, raise_problems, read_records
from mlx_selfdebug.values.task import Task

FOLDER = Path(__file__).parent.parent / "garden"
SPLITS = ("train", "dev", "test")
MAX_BYTES = 32 << 20
NOT_SQLITE = ("> ALL (", "SELECT DERIVED_TABLEalias1.STATE_NAME FROM (")
"""Parts of those queries of GeoQuery that SQLite cannot run."""


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
            quoted = name.replace('"', '""')
            try:
                connection.execute(f'DELETE FROM "{quoted}" WHERE rowid % 3 = 0')
            except sqlite3.Error:
                continue  # the table has no rowids, or is not a table of rows
        connection.commit()
        return Database(self.schema, _form(connection))


@dataclass(frozen=True)
class Question:
    where: str
    id: str
    text: str
    query: str
    wrong: tuple[str, ...] = ()


def geoquery_tasks(path: Path, split: str) -> list[Task]:
    """Return the tasks of a split of GeoQuery. ``path`` is its folder, or the JSON file in it.

    Raises TaskError with everything that is wrong with the files.
    """
    file = path / "geography.json" if path.is_dir() else path
    records = read_records(file, {"sentences": list, "sql": list})
    questions = [question for record in records for question in geo_questions(record, split)]
    numbered = [
        Question(question.where, f"GeoQuery/{split}/{number}", question.text, question.query)
        for number, question in enumerate(questions)
    ]
    runnable = [question for question in numbered if not any(part in question.query for part in NOT_SQLITE)]
    return _tasks(file, runnable, {"": open_database(file.with_suffix(".sqlite"))}, lambda _: "", "geoquery")


def geo_questions(record: Record, split: str) -> Iterator[Question]:
    """Yield the questions of one record of GeoQuery's file, without ids. Raises TaskError if the record is not in its format."""
    try:
        for sentence in record.fields["sentences"]:
            if sentence["question-split"] == split:
                text, query = sentence["text"], record.fields["sql"][0]
                for name, value in sentence["variables"].items():
                    text, query = text.replace(name, value), query.replace(name, value)
                yield Question(record.where, "", text, query)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise TaskError(f"{record.where}: not in GeoQuery's format: {type(error).__name__}: {error}") from None


def spider_tasks(path: Path) -> list[Task]:
    """Return the tasks of a file in Spider's format.

    Raises TaskError with everything that is wrong with the questions and their databases.
    """
    records = read_records(path, {"db_id": str, "question": str, "query": str})
    named = sorted({record.fields["db_id"] for record in records})
    databases, problems = {}, []
    for name in named:
        try:
            databases[name] = open_database(path.parent / "database" / name / f"{name}.sqlite")
        except TaskError as error:
            problems.append(str(error))
    raise_problems(path, problems)
    questions = [
        Question(record.where, f"{path.stem}/{number}", record.fields["question"], record.fields["query"])
        for number, record in enumerate(records)
    ]
    database_of = {question.id: record.fields["db_id"] for question, record in zip(questions, records, strict=True)}
    return _tasks(path, questions, databases, lambda question: database_of[question.id], path.stem)


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
    quoted = name.replace('"', '""')
    columns = connection.execute(f'PRAGMA table_info("{quoted}")').fetchall()
    return f"CREATE TABLE {name} ({', '.join(f'{column[1]} {column[2]}'.strip() for column in columns)});"


def _tasks(
    path: Path, questions: Sequence[Question], databases: Mapping[str, Database], of: Any, source: str
) -> list[Task]:
    """Return tasks with public checks on the thinned copy of a database and hidden checks on all of it.

    A question whose answer holds no value is left out, since it cannot be checked.
    """
    tasks, problems = [], []
    data = {
        name: json.dumps({"part": database.thinned.form, "whole": database.form})
        for name, database in databases.items()
    }
    for question in questions:
        database = databases[of(question)]
        try:
            whole, part = database.rows(question.query), database.thinned.rows(question.query)
        except sqlite3.Error as error:
            problems.append(f"{question.where}: its query does not run: {error}: {question.query[:200]!r}")
            continue
        if any(value is not None for row in whole for value in row):
            ordered = is_ordered(question.query)
            tasks.append(
                Task(
                    id=question.id,
                    domain="sql",
                    statement=question.text,
                    entry_point="answer",
                    starter_code=database.schema,
                    public=rows_checks({"part": part}, ordered=ordered),
                    hidden=rows_checks({"whole": whole}, ordered=ordered),
                    data=data[of(question)],
                    reference=question.query.strip() + "\n",
                    source=source,
                )
            )
    raise_problems(path, problems)
    return tasks


def garden_tasks(domain: str) -> list[Task]:
    """Return the questions of the garden family, whose databases share a schema. ``domain`` is sql or duckdb."""
    schema = (FOLDER / "schema.sql").read_text(encoding="utf-8")
    scripts = {file.stem: file.read_text(encoding="utf-8") for file in sorted((FOLDER / "rows").glob("*.sql"))}
    databases = {name: Database(schema, {"script": f"{schema}\n{rows}"}) for name, rows in scripts.items()}
    data = json.dumps({name: database.form for name, database in databases.items()})
    first, *others = databases
    tasks = []
    for record in read_records(FOLDER / "questions.jsonl", {"id": str, "question": str, "query": str}):
        query = record.fields["query"]
        ordered = is_ordered(query)
        rows = {name: database.rows(query) for name, database in databases.items()}
        tasks.append(
            Task(
                id=f"{'garden' if domain == 'sql' else 'garden-' + domain}/{record.fields['id']}",
                domain=domain,
                statement=record.fields["question"],
                entry_point="answer",
                starter_code=schema,
                public=rows_checks({first: rows[first]}, ordered=ordered),
                hidden=rows_checks({name: rows[name] for name in others}, ordered=ordered),
                data=data,
                reference=query + "\n",
                wrong=tuple(record.fields.get("wrong", ())),
                source="garden",
            )
        )
    return tasks
