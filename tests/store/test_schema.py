"""A database of an older version becomes one of today, or stays as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, read_attempts, reading
from mlx_selfdebug.store.database import open_for_writing
from mlx_selfdebug.store.rows import ATTEMPTS, ENVIRONMENT, MEMORY, PAIRS, PARTS, STAGES, STEPS, Table
from mlx_selfdebug.store.schema import FIRST, MIGRATIONS, SCHEMA_VERSION
from mlx_selfdebug.testing import make_attempt

from ..support.values import FAILED

BROKEN = (*MIGRATIONS, ("CREATE TABLE later (x)", "ALTER TABLE nowhere ADD COLUMN y"))


def make_first_version(path: Path) -> bytes:
    """A run of version 1 with one attempt, and the bytes of its database."""
    Run(path).close()
    (path / "run.db").unlink()
    row = dict(zip(ATTEMPTS.columns, ATTEMPTS.to_row(make_attempt(verdict=FAILED)), strict=True))
    with closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in FIRST:
            db.execute(statement)
        row = {column[1]: row[column[1]] for column in db.execute("PRAGMA table_info(attempts)")}
        db.execute(f"INSERT INTO attempts ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        db.execute("PRAGMA user_version = 1")
    return (path / "run.db").read_bytes()


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)) as db:
        return list(db.iterdump())


@pytest.mark.parametrize(
    "table", [ATTEMPTS, PAIRS, STEPS, STAGES, MEMORY, PARTS, ENVIRONMENT], ids=lambda table: table.name
)
def test_every_field_of_a_value_has_its_column(run: Run, table: Table[object]) -> None:
    with reading(run.path) as db:
        columns = {row["name"] for row in db.execute(f"PRAGMA table_info({table.name})")}
    assert columns - {"position"} == set(table.columns)


def test_a_run_of_the_first_version_is_migrated_with_its_attempts(tmp_path: Path) -> None:
    make_first_version(tmp_path)
    with Run(tmp_path) as run:
        assert run.attempts() == [make_attempt(verdict=FAILED)]


def test_the_database_as_it_was_is_kept_beside_the_migrated_one(tmp_path: Path) -> None:
    make_first_version(tmp_path)
    before = dump(tmp_path / "run.db")
    Run(tmp_path).close()
    assert dump(tmp_path / "run.db.v1") == before


def test_a_copy_that_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    make_first_version(tmp_path)
    (tmp_path / "run.db.v1").write_text("mine")
    Run(tmp_path).close()
    assert (tmp_path / "run.db.v1").read_text() == "mine"
    assert (tmp_path / "run.db.v1-2").exists()


def test_a_migrated_run_takes_new_attempts_and_is_not_migrated_again(tmp_path: Path) -> None:
    make_first_version(tmp_path)
    for sample in (1, 2):
        with Run(tmp_path) as run:
            run.add_attempt(make_attempt(sample=sample, tidied=("fence",)))
    with reading(tmp_path) as db:
        assert [attempt.tidied for attempt in read_attempts(db)] == [(), ("fence",), ("fence",)]
    assert sorted(path.name for path in tmp_path.glob("run.db.*")) == ["run.db.v1"]


def test_a_migration_that_fails_leaves_the_database_as_it_was_and_no_copy(tmp_path: Path) -> None:
    before = make_first_version(tmp_path)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        open_for_writing(tmp_path / "run.db", BROKEN)
    assert (tmp_path / "run.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("run.db*")) == ["run.db"]


def test_a_new_database_that_fails_to_be_made_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such table: nowhere"):
        open_for_writing(tmp_path / "run.db", BROKEN)
    assert list(tmp_path.iterdir()) == []


def test_reading_an_older_run_does_not_migrate_it_and_names_the_command(tmp_path: Path) -> None:
    before = make_first_version(tmp_path)
    with (
        pytest.raises(StoreError, match=f"schema version 1, but this program reads {SCHEMA_VERSION}") as caught,
        reading(tmp_path),
    ):
        pass
    assert caught.value.hint == f"mlx-selfdebug runs upgrade {tmp_path}"
    assert (tmp_path / "run.db").read_bytes() == before


@pytest.mark.parametrize("open_run", [Run, lambda path: reading(path).__enter__()])
def test_a_run_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, open_run: type[Run]) -> None:
    Run(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "run.db")) as db, db:
        db.execute("PRAGMA user_version = 99")
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(
        StoreError, match=f"schema version 99, but this program reads only up to {SCHEMA_VERSION}"
    ) as caught:
        open_run(tmp_path)
    assert "update" in str(caught.value.hint)
    assert (tmp_path / "run.db").read_bytes() == before
