"""Saved Python files of a project are noticed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.fixing.watching import saved_files
from tests.projects.made import project_at, write_project


def test_it_begins_at_once_and_again_when_a_file_is_saved(tmp_path: Path) -> None:
    project = project_at(write_project(tmp_path, {"m.py": "x = 1\n"}))
    saved = saved_files(project)
    assert next(saved) == []
    stop = threading.Event()

    def save() -> None:
        n = 0
        while not stop.wait(0.2):
            n += 1
            (tmp_path / "m.py.before-fix").write_text(f"{n}")
            (tmp_path / "m.py").write_text(f"x = {n}\n")

    thread = threading.Thread(target=save)
    thread.start()
    try:
        assert next(saved) == ["m.py"]
    finally:
        stop.set()
        thread.join()


def test_without_watchfiles_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    with pytest.raises(UsageError, match="needs watchfiles"):
        next(saved_files(project_at(write_project(tmp_path, {}))))
