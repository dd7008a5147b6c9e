"""A sealed folder is sound until one of its files changes, and checking it reads as little as possible."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mlx_selfdebug.models import sealed
from mlx_selfdebug.models.sealed import SEAL, is_sound, read_seal, seal

SOURCE = "5" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "deep/b.bin").write_bytes(b"12345")
    seal(folder, SOURCE)
    return folder


def test_files_in_subfolders_are_recorded(folder: Path) -> None:
    content = read_seal(folder)
    assert content is not None
    assert list(content["files"]) == ["a.json", "deep/b.bin"]
    assert content["files"]["deep/b.bin"]["size"] == 5
    assert is_sound(folder, SOURCE)
    assert not is_sound(folder, "6" * 64)


@pytest.mark.parametrize("damage", ["deleted", "shorter", "changed", "record"])
def test_damage_is_told_by_the_name_of_the_file(folder: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    file = folder / "deep/b.bin"
    if damage == "deleted":
        file.unlink()
    elif damage == "record":
        content = json.loads((folder / SEAL).read_text())
        content["files"]["deep/b.bin"] = 5
        (folder / SEAL).write_text(json.dumps(content))
    else:
        file.write_bytes(b"1234" if damage == "shorter" else b"12346")
        os.utime(file, (1, 1))
    assert not is_sound(folder, SOURCE)
    assert "is damaged (deep/b.bin)" in caplog.text


def test_a_copy_is_read_once_and_then_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(folder / "deep/b.bin", (1, 1))
    before = (folder / SEAL).read_bytes()
    assert is_sound(folder, SOURCE)
    assert (folder / SEAL).read_bytes() == before
    assert is_sound(folder, SOURCE, refresh=True)
    monkeypatch.setattr(sealed, "sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    assert is_sound(folder, SOURCE)
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "deep", SEAL]


def test_a_record_that_cannot_be_replaced_is_kept(folder: Path) -> None:
    os.utime(folder / "deep/b.bin", (1, 1))
    before = (folder / SEAL).read_bytes()
    (folder / f".{SEAL}.{os.getpid()}").mkdir()  # stands in the way of the new record
    assert is_sound(folder, SOURCE, refresh=True)
    assert (folder / SEAL).read_bytes() == before
