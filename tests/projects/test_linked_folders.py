"""The folders that a virtual environment links to are read from its files as Python reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.projects.linked_folders import linked_folders


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of the packages of a virtual environment, in ``tmp_path``/env."""
    site = tmp_path / "env/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (tmp_path / "env/pyvenv.cfg").write_text("")
    (tmp_path / "project").mkdir()
    return site


def linked(tmp_path: Path) -> list[str]:
    return linked_folders(str(tmp_path / "env/bin/python"), (tmp_path / "project").resolve())


def test_folders_outside_of_the_project_are_named(tmp_path: Path, site: Path) -> None:
    for name in ("other/src", "project/src"):
        (tmp_path / name).mkdir(parents=True)
    (site / "a.pth").write_text(f"{tmp_path}/other/src\n{tmp_path}/project/src\n{tmp_path}\n{tmp_path}/missing\n")
    assert linked(tmp_path) == [str((tmp_path / "other/src").resolve())]


def test_a_relative_line_begins_at_the_folder_of_the_packages(tmp_path: Path, site: Path) -> None:
    (tmp_path / "other").mkdir()
    (site / "a.pth").write_text("../../../../other\n")
    assert linked(tmp_path) == [str((tmp_path / "other").resolve())]


def test_comments_programs_and_blank_lines_name_no_folder(tmp_path: Path, site: Path) -> None:
    for name in ("# x", "import x"):
        (site / name).mkdir()
    (site / "a.pth").write_text("# x\nimport x\n\n")
    assert linked(tmp_path) == []


def test_the_home_folder_is_left_out(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    (tmp_path / "home/me/code").mkdir(parents=True)
    (site / "a.pth").write_text(f"{tmp_path}/home\n{tmp_path}/home/me\n{tmp_path}/home/me/code\n")
    assert linked(tmp_path) == [str((tmp_path / "home/me/code").resolve())]
