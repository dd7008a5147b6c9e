"""Questions over databases: GeoQuery's and Spider's forms, and the garden family."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.sets.database import Database, open_database
from mlx_selfdebug.tasks.sets.records import read_records
from mlx_selfdebug.tasks.sets.sql import SPLITS, geo_questions


@pytest.fixture
def spider(tmp_path: Path) -> Path:
    """A set of one question in Spider's form; more are written over it."""
    folder = tmp_path / "database" / "zoo"
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "zoo.sqlite") as database:
        database.executescript(
            "CREATE TABLE animal(name TEXT, legs INTEGER);"
            + "".join(f"INSERT INTO animal VALUES ('a{n}', {n % 5});" for n in range(9))
        )
    database.close()
    return questions(tmp_path, "SELECT name FROM animal WHERE legs = 4")


def questions(folder: Path, *queries: str) -> Path:
    path = folder / "dev.json"
    path.write_text(json.dumps([{"db_id": "zoo", "question": "Which?", "query": query} for query in queries]))
    return path


def test_a_question_in_spiders_form_is_a_task(spider, errors):
    [task] = tasks = load_tasks(f"spider:{spider}")
    assert task.domain == "sql"
    assert "CREATE TABLE animal" in task.starter_code
    assert errors(tasks) == []


def test_public_checks_are_on_a_copy_that_lacks_every_third_row(spider):
    questions(spider.parent, "SELECT count(*) FROM animal")
    [task] = load_tasks(f"spider:{spider}")
    assert "[[6]]" in task.public.source
    assert "[[9]]" in task.hidden.source


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT colour FROM animal", "no such column"),
        ("DELETE FROM animal", "only reading is allowed"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c", "takes too long"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT name FROM animal WHERE legs > 9", "gives no value"),
        ("SELECT '\ud800'", "surrogates not allowed"),
        ("", "gives no value"),
    ],
)
def test_a_query_that_cannot_be_a_reference_leaves_its_question_out_and_is_said(spider, caplog, query, said):
    questions(spider.parent, "SELECT 1", query)
    assert [task.reference for task in load_tasks(f"spider:{spider}")] == ["SELECT 1\n"]
    assert "1 of 2 questions are left out" in caplog.text
    assert f"{spider}[1]: " in caplog.text
    assert said in caplog.text


def test_a_set_of_which_no_question_can_be_checked_is_an_error_with_every_reason(spider):
    questions(spider.parent, "SELECT colour FROM animal", "SELECT name FROM animal WHERE 0")
    with pytest.raises(TaskError) as caught:
        load_tasks(f"spider:{spider}")
    assert [problem.removeprefix(str(spider)).partition(": ")[0] for problem in caught.value.problems] == ["[0]", "[1]"]


def test_a_database_that_cannot_be_read_leaves_out_its_own_questions_alone(spider, caplog):
    records = [{"db_id": name, "question": "?", "query": "SELECT name FROM animal"} for name in ("zoo", "gone")]
    spider.write_text(json.dumps(records))
    assert len(load_tasks(f"spider:{spider}")) == 1
    assert "gone.sqlite: no such file" in caplog.text


@pytest.mark.parametrize("data", [b"", b"plain text, no database at all", b"SQLite format 3\x00" + b"\x00" * 200])
def test_a_database_that_is_none_is_an_error(spider, data):
    (spider.parent / "database" / "zoo" / "zoo.sqlite").write_bytes(data)
    with pytest.raises(TaskError) as caught:
        load_tasks(f"spider:{spider}")
    assert "zoo" in "\n".join([str(caught.value), *caught.value.problems])


def test_a_database_that_is_not_there_is_an_error(spider):
    (spider.parent / "database" / "zoo" / "zoo.sqlite").unlink()
    with pytest.raises(TaskError) as caught:
        load_tasks(f"spider:{spider}")
    assert "zoo.sqlite" in "\n".join([str(caught.value), *caught.value.problems])


def test_loading_leaves_the_database_as_it_was(spider):
    path = spider.parent / "database" / "zoo" / "zoo.sqlite"
    before = path.read_bytes()
    load_tasks(f"spider:{spider}")
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["zoo.sqlite"]


def test_no_question_of_the_garden_occurs_twice():
    tasks = load_tasks("garden")
    assert len({task.statement for task in tasks}) == len({task.reference for task in tasks}) == len(tasks)


def test_the_garden_is_asked_on_databases_that_are_not_shown():
    for task in load_tasks("garden"):
        assert set(json.loads(task.data)) == {"a", "b", "c", "d"}


def test_geoquerys_questions_are_loaded_and_every_tenth_matches_itself(data, errors):
    path = data("geoquery/geography.json").parent
    tasks = [task for name in ("geoquery-train", "geoquery") for task in load_tasks(f"{name}:{path}")]
    assert len({task.id for task in tasks}) == len(tasks) > 780
    assert errors(tasks[::10]) == []


def test_872_of_geoquerys_877_queries_run(data):
    file = data("geoquery/geography.json")
    records = read_records(file, {"sentences": list, "sql": list})
    queries = [question.query for split in SPLITS for record in records for question in geo_questions(record, split)]
    database = open_database(file.with_suffix(".sqlite"))
    assert len(queries) == 877
    assert sum(does_run(database, query) for query in queries) == 872


def does_run(database: Database, query: str) -> bool:
    try:
        database.rows(query)
    except sqlite3.Error:
        return False
    return True


WORDS = st.sampled_from(
    ["order", "group", "Free Meal Count (K-12)", "current_date", "null", "2nd", "naïve", "rowid", "true", 'a"b', "[x]"]
)
NAMES = WORDS | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
TYPES = st.sampled_from(["", "TEXT", "VARCHAR(20)", "DECIMAL(10, 2)", "long integer"]) | NAMES


@given(
    table=NAMES,
    columns=st.lists(st.tuples(NAMES, TYPES), min_size=1, max_size=4, unique_by=lambda column: column[0].casefold()),
)
def test_the_schema_that_is_shown_makes_the_same_tables(tmp_path_factory, table, columns):
    assume(not table.casefold().startswith("sqlite_"))

    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    def columns_of(database):
        return [row[1:3] for row in database.execute(f"PRAGMA table_info({quoted(table)})")]

    path = tmp_path_factory.mktemp("names") / "a.sqlite"
    with closing(sqlite3.connect(path)) as database:
        shown = ", ".join(f"{quoted(name)} {quoted(type_) if type_ else ''}" for name, type_ in columns)
        database.execute(f"CREATE TABLE {quoted(table)} ({shown})")
        before = columns_of(database)
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(open_database(path).schema)
        assert columns_of(database) == before


def test_a_name_is_quoted_only_where_it_must_be(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        database.execute(
            'CREATE TABLE "order" (id INTEGER, "Academic Year" TEXT, "current_date" TEXT, n INT AS (id * 2), größe REAL)'
        )
    shown = open_database(tmp_path / "a.sqlite").schema
    assert shown == 'CREATE TABLE "order" (id INTEGER, "Academic Year" TEXT, "current_date" TEXT, n INT, größe REAL);'
