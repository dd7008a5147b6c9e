"""Read questions to be answered in SQL: GeoQuery, Spider, and the garden sets, which come with the package.

The expected rows are those that the reference query returns. A question is left out if its query does not run, takes too long or
returns no value, or if its database cannot be read. The questions that are left out are logged, each with the reason.

The hidden checks of GeoQuery and Spider use the whole database, and the public checks use a copy without every third row of each
table. What a repair is told about the rows is therefore never what scores. Garden has several databases for the same purpose.

- **GeoQuery** (Zelle and Mooney, 1996; as SQL by Finegan-Dollak et al., 2018) is ``geoquery:FOLDER`` with geography.json and
  geography.sqlite. Two of its queries, for five questions, are not in SQLite's SQL.
- **Spider** (Yu et al., 2018) is ``spider:FILE.json``, a JSON array of ``db_id``, ``question`` and ``query``. The databases are
  beside the file as ``database/DB_ID/DB_ID.sqlite``. Your own questions can have the same format.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_selfdebug.domains.sql import is_ordered, rows_checks
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.sets.database import Database, open_database
from mlx_selfdebug.tasks.sets.records import Record, raise_problems, read_records
from mlx_selfdebug.values.task import Task

FOLDER = Path(__file__).parent.parent / "garden"
SPLITS = ("train", "dev", "test")
NOT_SQLITE = ("> ALL (", "SELECT DERIVED_TABLEalias1.STATE_NAME FROM (")
"""A part of each of the two queries of GeoQuery that SQLite cannot run."""
MAX_LOGGED_QUERY = 200
"""The largest number of characters of a query that are logged."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A question of a set, with its reference query."""

    where: str
    """Where the question stands in its file, for messages."""
    id: str
    """The id of the task, or an empty string if it is not known yet."""
    text: str
    query: str
    database: str = ""
    """The name of the database that the question is about."""


def geoquery_tasks(path: Path, split: str) -> list[Task]:
    """Return the tasks of a split of GeoQuery, which is one of ``SPLITS``.

    ``path`` is the set's folder, or the JSON file in it. Raises TaskError with all problems of the files.
    """
    file = path / "geography.json" if path.is_dir() else path
    records = read_records(file, {"sentences": list, "sql": list})
    questions = [question for record in records for question in geo_questions(record, split)]
    numbered = [replace(question, id=f"GeoQuery/{split}/{number}") for number, question in enumerate(questions)]
    runnable = [question for question in numbered if not any(part in question.query for part in NOT_SQLITE)]
    return _tasks(file, runnable, {"": open_database(file.with_suffix(".sqlite"))}, "geoquery")


def geo_questions(record: Record, split: str) -> Iterator[Question]:
    """Yield the questions of one record of GeoQuery's file that belong to a split, without ids.

    A record has several wordings of a question with one query. Both name variables, which are replaced by the values of the
    wording.

    Raises TaskError if the record is not in GeoQuery's format.
    """
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
    """Return the tasks of a file in Spider's format. The questions that cannot be checked are left out and logged.

    Raises TaskError if the file is not in that format, or if none of its questions can be checked.
    """
    records = read_records(path, {"db_id": str, "question": str, "query": str})
    databases: dict[str, Database | TaskError] = {}
    for name in sorted({record.fields["db_id"] for record in records}):
        try:
            databases[name] = open_database(path.parent / "database" / name / f"{name}.sqlite")
        except TaskError as error:
            databases[name] = error
    questions = [
        Question(
            record.where,
            f"{stem(path)}/{number}",
            record.fields["question"],
            record.fields["query"],
            record.fields["db_id"],
        )
        for number, record in enumerate(records)
    ]
    return _tasks(path, questions, databases, stem(path))


def _tasks(
    path: Path, questions: Sequence[Question], databases: Mapping[str, Database | TaskError], source: str
) -> list[Task]:
    """Return the tasks of the questions that can be checked, and log the others with the reasons.

    Args:
        path: The file of the questions, for messages.
        questions: The questions, each with the name of its database.
        databases: The databases by name, or the errors of those that cannot be read.
        source: The source of the tasks.

    Raises TaskError with the reasons if none of the questions can be checked.
    """
    data = {
        name: json.dumps({"part": database.thinned.form, "whole": database.form})
        for name, database in databases.items()
        if isinstance(database, Database)
    }
    tasks, left_out = [], []
    for question in questions:
        try:
            database = databases[question.database]
            if isinstance(database, TaskError):
                raise database
            tasks.append(_task(question, database, data[question.database], source))
        except (TaskError, sqlite3.Error, sqlite3.Warning, ValueError) as error:
            left_out.append(f"{question.where}: {error}: {question.query[:MAX_LOGGED_QUERY]!r}")
    if not tasks:
        raise_problems(path, left_out)
    if left_out:
        listed = "\n  ".join(left_out)
        logger.warning("%s: %d of %d questions are left out:\n  %s", path, len(left_out), len(questions), listed)
    return tasks


def _task(question: Question, database: Database, data: str, source: str) -> Task:
    """Return the task of a question, with public checks on a part of the database and hidden checks on the whole of it.

    Raises sqlite3.Error if the query does not run, and ValueError if it returns no value.
    """
    whole, part = database.rows(question.query), database.thinned.rows(question.query)
    if all(value is None for row in whole for value in row):
        raise ValueError("its query gives no value that could be compared")
    ordered = is_ordered(question.query)
    return Task(
        id=question.id,
        domain="sql",
        statement=question.text,
        entry_point="answer",
        starter_code=database.schema,
        public=rows_checks({"part": part}, ordered=ordered),
        hidden=rows_checks({"whole": whole}, ordered=ordered),
        data=data,
        reference=question.query.strip() + "\n",
        source=source,
    )


def garden_tasks(domain: str) -> list[Task]:
    """Return the tasks of the garden sets, to be answered in the SQL of ``domain``, which is "sql" or "duckdb".

    Each question is asked of several databases with the same schema. The first is public, and the others score.
    """
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
