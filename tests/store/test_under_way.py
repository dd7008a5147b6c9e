"""How far a stage has come is kept in a file while it is under way, and passed on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlx_selfdebug.progress import Stage
from mlx_selfdebug.store import ProgressFile, under_way
from mlx_selfdebug.store.under_way import FILE, Work, read_work


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "INTERVAL_S", 0.0)


def test_what_is_reported_can_be_read_by_others(tmp_path: Path) -> None:
    with ProgressFile(tmp_path).stage("collect", 30, "tasks") as stage:
        stage.advance(2, "1 solved")
        stage.advance(3)
        assert read_work(tmp_path) == (Work("collect", "tasks", 5, 30, "1 solved"),)


def test_work_within_work_comes_after_it(tmp_path: Path) -> None:
    progress = ProgressFile(tmp_path)
    with progress.stage("evaluate", 10, "tasks"):
        with progress.stage("load") as stage:
            stage.advance()
            assert [work.name for work in read_work(tmp_path)] == ["evaluate", "load"]
        assert [work.name for work in read_work(tmp_path)] == ["evaluate"]


def test_nothing_is_left_when_the_work_ends_well(tmp_path: Path) -> None:
    with ProgressFile(tmp_path).stage("collect", 3, "tasks") as stage:
        stage.advance()
    assert list(tmp_path.iterdir()) == []
    assert read_work(tmp_path) == ()


def test_work_that_fails_leaves_how_far_it_came(tmp_path: Path) -> None:
    def fail() -> None:
        with ProgressFile(tmp_path).stage("train", 30, "pairs") as stage:
            stage.advance(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [work.done for work in read_work(tmp_path)] == [4]


def test_the_file_is_not_written_more_often_than_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "INTERVAL_S", 60.0)
    with ProgressFile(tmp_path).stage("collect", 3, "tasks") as stage:
        stage.advance()
        assert [work.done for work in read_work(tmp_path)] == [0]


class Heard:
    """A progress that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        self.heard.append((name, total, unit))
        yield self

    def advance(self, n: int = 1, note: str = "") -> None:
        self.heard.append((n, note))


def test_everything_is_passed_on(tmp_path: Path) -> None:
    heard = Heard()
    with ProgressFile(tmp_path, heard).stage("collect", 3, "tasks") as stage:
        stage.advance(2, "going on")
    assert heard.heard == [("collect", 3, "tasks"), (2, "going on")]


def test_a_folder_that_cannot_be_written_does_not_end_the_work(tmp_path: Path) -> None:
    with ProgressFile(tmp_path / "gone").stage("collect", 3, "tasks") as stage:
        stage.advance()
    assert read_work(tmp_path / "gone") == ()


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"work": [{"name": 3}]}', '{"work": 1}'])
def test_a_file_of_something_else_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_work(tmp_path) == ()
