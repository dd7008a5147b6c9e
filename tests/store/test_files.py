"""A file is written whole or not at all, and what goes wrong is told as a StoreError."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store.files import write_atomically, writing_atomically


def test_a_file_below_a_file_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        write_atomically(tmp_path / "file" / "below", "new")


def test_a_file_whose_name_is_too_long_cannot_be_written(tmp_path: Path):
    with pytest.raises(StoreError, match="cannot be written: File name too long"):
        write_atomically(tmp_path / ("n" * 300), "new")


def test_an_error_without_a_number_is_told_with_its_text(tmp_path: Path):
    with pytest.raises(StoreError, match="cannot be written: the block failed"), writing_atomically(tmp_path / "file"):
        raise OSError("the block failed")


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_atomically(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), writing_atomically(tmp_path / "file") as file:
        file.write(f"new {1 // 0}")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]
