"""A damaged database is reported by name and left as it is, byte for byte."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, read_attempts, reading
from mlx_selfdebug.testing import make_attempt


def zero_length(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("not a database at all\n" * 1000)


def random_bytes(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(100_000))


def random_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[8192:] = random.Random(0).randbytes(len(data) - 8192)
    file.write_bytes(data)


def cut_in_the_middle(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_within_a_page(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def cut_within_the_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "inside").write_text("kept")


def another_programs_database(file: Path) -> None:
    file.unlink()
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE attempts (x)")
    db.close()


def a_log_of_random_bytes(file: Path) -> None:
    file.with_name("run.db-wal").write_bytes(random.Random(0).randbytes(10_000))


def a_log_without_its_database(file: Path) -> None:
    file.rename(file.with_name("run.db-wal"))


DAMAGES = [
    zero_length,
    text,
    random_bytes,
    random_pages,
    cut_in_the_middle,
    cut_within_a_page,
    cut_within_the_header,
    a_folder,
    another_programs_database,
    a_log_of_random_bytes,
    a_log_without_its_database,
]


def database_files(folder: Path) -> dict[str, bytes | None]:
    """The bytes of run.db and of what lies beside it; None for a folder."""
    return {path.name: None if path.is_dir() else path.read_bytes() for path in sorted(folder.glob("run.db*"))}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with Run(tmp_path / "run") as run:
        for sample in range(50):
            run.add_attempt(make_attempt(sample=sample, completion="x" * 1000))
    return run.path


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_reported_and_not_touched(filled: Path, damage: Callable[[Path], None]) -> None:
    damage(filled / "run.db")
    before = database_files(filled)
    with pytest.raises(StoreError, match=r"run\.db.* is ") as caught:
        Run(filled)
    assert database_files(filled) == before
    assert "restore it from a copy" in str(caught.value.hint)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d is not a_log_without_its_database])
def test_reading_a_damaged_database_is_a_store_error_and_does_not_touch_it(
    filled: Path, damage: Callable[[Path], None]
) -> None:
    damage(filled / "run.db")
    before = database_files(filled)
    with pytest.raises(StoreError, match=r"run\.db.* is "), reading(filled) as db:
        list(read_attempts(db))
    after = database_files(filled)
    assert {name: after[name] for name in before} == before


def test_a_database_damaged_under_a_log_that_is_not_merged_yet_is_left_with_its_log(filled: Path) -> None:
    leave_a_log(filled)
    random_pages(filled / "run.db")
    before = database_files(filled)
    assert before["run.db-wal"]
    with pytest.raises(StoreError, match="is damaged"):
        Run(filled)
    after = database_files(filled)
    assert (after["run.db"], after["run.db-wal"]) == (before["run.db"], before["run.db-wal"])


def leave_a_log(path: Path) -> None:
    """As a process that was killed leaves it."""
    with Run(path) as run:
        run.add_attempt(make_attempt(sample=99))
        run.flush()
        kept = {name: data for name, data in database_files(path).items() if data is not None}
    for name, data in kept.items():
        (path / name).write_bytes(data)


def test_a_row_that_makes_no_attempt_is_reported_with_its_key(filled: Path) -> None:
    with sqlite3.connect(filled / "run.db") as db:
        db.execute("""UPDATE attempts SET verdict = '{"outcome": "pased"}' WHERE sample = 7""")
    db.close()
    with (
        Run(filled) as run,
        pytest.raises(StoreError, match=r"sample 7.*verdict\.outcome: 'pased' is not one of passed"),
    ):
        run.attempts()


def test_a_run_killed_while_its_database_was_made_can_be_opened(tmp_path: Path) -> None:
    Run(tmp_path).close()
    (tmp_path / "run.db").rename(tmp_path / "run.db.partial")
    cut_in_the_middle(tmp_path / "run.db.partial")
    with Run(tmp_path) as run:
        assert run.attempts() == []
    assert not (tmp_path / "run.db.partial").exists()
