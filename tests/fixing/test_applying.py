"""A change is written at once or not at all, and a copy of the file is kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing import Change, apply_change
from mlx_selfdebug.projects.source import read_source

BEFORE, AFTER = "def f():\r\n    return 1\r\n", "def f():\r\n    return 2\r\n"


@pytest.fixture
def change(tmp_path: Path) -> Change:
    (tmp_path / "m.py").write_bytes(BEFORE.encode())
    return Change(read_source(tmp_path, "m.py"), "f", AFTER, "edits", ("t",))


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_the_file_holds_the_change_and_the_copy_what_was_there(tmp_path: Path, change: Change) -> None:
    os.chmod(tmp_path / "m.py", 0o640)
    kept = apply_change(change, tmp_path)
    assert (tmp_path / "m.py").read_bytes() == AFTER.encode()
    assert kept.read_bytes() == BEFORE.encode()
    assert (tmp_path / "m.py").stat().st_mode & 0o777 == 0o640


def test_an_earlier_copy_is_not_written_over(tmp_path: Path, change: Change) -> None:
    first = apply_change(change, tmp_path)
    (tmp_path / "m.py").write_bytes(BEFORE.encode())
    second = apply_change(change, tmp_path)
    assert first != second
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_has_changed_since_is_left_alone(tmp_path: Path, change: Change) -> None:
    (tmp_path / "m.py").write_text("mine")
    with pytest.raises(UsageError, match="has changed since"):
        apply_change(change, tmp_path, force=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_with_changes_that_are_not_committed_is_left_alone_unless_forced(tmp_path: Path, change: Change) -> None:
    (tmp_path / "m.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "m.py")
    git(tmp_path, "commit", "-qm", "x")
    (tmp_path / "m.py").write_bytes(BEFORE.encode())
    with pytest.raises(UsageError, match="not committed"):
        apply_change(change, tmp_path)
    assert (tmp_path / "m.py").read_bytes() == BEFORE.encode()
    apply_change(change, tmp_path, force=True)
    assert (tmp_path / "m.py").read_bytes() == AFTER.encode()


def test_a_link_stays_a_link(tmp_path: Path, change: Change) -> None:
    (tmp_path / "real").mkdir()
    os.rename(tmp_path / "m.py", tmp_path / "real/m.py")
    os.symlink("real/m.py", tmp_path / "m.py")
    apply_change(change, tmp_path)
    assert (tmp_path / "m.py").is_symlink()
    assert (tmp_path / "real/m.py").read_bytes() == AFTER.encode()
