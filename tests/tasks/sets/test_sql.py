"""Questions over databases: GeoQuery's and Spider's forms, and the garden family."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.sets.records import read_records
from mlx_selfdebug.tasks.sets.sql import SPLITS, Database, geo_questions, open_database


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
    ],
)
def test_a_query_that_cannot_be_a_reference_is_said_with_its_place(spider, query, said):
    questions(spider.parent, "SELECT 1", query)
    with pytest.raises(TaskError) as caught:
        load_tasks(f"spider:{spider}")
    [problem] = caught.value.problems
    assert f"{spider}[1]" in problem
    assert said in problem


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
