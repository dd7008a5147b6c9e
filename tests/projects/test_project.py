"""A project is found with its interpreter, its tests and the files that may be changed; what makes no sense is refused in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.project import Project, serves_tests_or_builds
from mlx_selfdebug.projects.suite import options_of
from tests.projects.made import write_project


def test_the_folder_above_that_holds_a_project_is_its_root(tmp_path: Path) -> None:
    write_project(tmp_path, {"pkg/deep/m.py": "", "pkg/deep/n.py": ""})
    project = Project.find([tmp_path / "pkg/deep/m.py"], python=sys.executable)
    assert (project.root, project.paths) == (tmp_path.resolve(), ("pkg/deep/m.py",))
    assert project.sources() == ["pkg/deep/m.py"]


def test_a_folder_without_a_project_around_it_is_its_own_root(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("")
    assert Project.find([tmp_path], python=sys.executable).root == tmp_path.resolve()


def test_tests_and_what_is_not_written_by_hand_may_not_be_changed(tmp_path: Path) -> None:
    wanted = {"pkg/a.py": "", "b.py": ""}
    others = [
        "tests/helper.py",
        "pkg/test_a.py",
        "pkg/a_test.py",
        "conftest.py",
        "setup.py",
        "build/c.py",
        "_vendor/d.py",
        ".tox/e.py",
    ]
    write_project(tmp_path, {**wanted, **dict.fromkeys(others, ""), "env/pyvenv.cfg": "", "env/lib/f.py": ""})
    assert Project.find([tmp_path], python=sys.executable).sources() == sorted(wanted)
    assert serves_tests_or_builds("tests/helper.py")


@pytest.mark.parametrize("path", ["tests/test_a.py", "tests", "build/c.py", "setup.py", ".tox"])
def test_a_path_without_code_that_may_be_changed_is_refused_by_name(tmp_path: Path, path: str) -> None:
    files = ["a.py", "tests/test_a.py", "build/c.py", "setup.py", ".tox/e.py"]
    write_project(tmp_path, dict.fromkeys(files, ""))
    with pytest.raises(UsageError, match=f"^{path} holds no code that may be changed"):
        Project.find([tmp_path / "a.py", tmp_path / path], python=sys.executable)


def test_without_paths_the_whole_project_around_the_working_folder_may_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, {"a.py": "", "pkg/b.py": ""})
    monkeypatch.chdir(tmp_path / "pkg")
    project = Project.find(python=sys.executable)
    assert (project.root, project.paths) == (tmp_path.resolve(), ())
    assert project.sources() == ["a.py", "pkg/b.py"]
    assert Project.find(["."], python=sys.executable).sources() == ["pkg/b.py"]


@pytest.mark.parametrize("path", ["script.py", "", ".."])
def test_the_home_folder_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    home = write_project(tmp_path / "users/me", {"script.py": "", "work/a.py": ""})
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(UsageError, match="is not taken for a project") as error:
        Project.find([home / path])
    assert "folder of their own" in str(error.value.hint)
    monkeypatch.chdir(home)
    with pytest.raises(UsageError, match="your home folder"):
        Project.find()
    assert Project.find([home / "work/a.py"], python=sys.executable).root == (home / "work").resolve()


def test_the_virtual_environment_of_the_project_is_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    write_project(tmp_path, {"m.py": "", ".venv/pyvenv.cfg": ""})
    (tmp_path / ".venv/bin").mkdir()
    os.symlink(sys.executable, tmp_path / ".venv/bin/python")
    assert Project.find([tmp_path]).python == str(tmp_path.resolve() / ".venv/bin/python")


def test_without_a_virtual_environment_this_interpreter_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    (tmp_path / "m.py").write_text("")
    assert Project.find([tmp_path]).python == sys.executable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py", "does not exist"),
        (f"{'long' * 100}.py", "does not exist"),  # Path.exists raises for such a name
        ("a.ipynb", "is a notebook"),
        ("a.txt", "is not a Python file"),
    ],
)
def test_a_path_that_cannot_be_repaired_is_named(tmp_path: Path, name: str, message: str) -> None:
    for other in ("a.ipynb", "a.txt"):
        (tmp_path / other).write_text("")
    with pytest.raises(UsageError, match=message):
        Project.find([tmp_path / name])


def test_the_whole_project_and_a_file_of_it_mean_the_whole_project(tmp_path: Path) -> None:
    write_project(tmp_path, {"a.py": "", "b.py": ""})
    project = Project.find([tmp_path, tmp_path / "a.py"], python=sys.executable)
    assert project.paths == ()
    assert project.sources() == ["a.py", "b.py"]


def test_an_interpreter_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--python nowhere is not a program"):
        Project.find([tmp_path], python="nowhere")


def test_an_interpreter_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink(sys.executable, tmp_path / "python9.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Project.find([tmp_path], python="python9.9").python == str(tmp_path / "python9.9")


def test_a_script_on_the_path_stands_for_the_interpreter_that_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python9.9"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Project.find([tmp_path], python="python9.9").python == sys.executable
    script.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsageError, match=r"--python python9\.9 is not a program"):
        Project.find([tmp_path], python="python9.9")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_no_error(tmp_path: Path) -> None:
    write_project(tmp_path, {"a.py": "", "closed/b.py": ""})
    (tmp_path / "closed").chmod(0)
    try:
        assert Project.find([tmp_path], python=sys.executable).sources() == ["a.py"]
        with pytest.raises(UsageError, match="may not be read"):
            Project.find([tmp_path / "closed/b.py"], python=sys.executable)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_two_projects_at_once_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_project(tmp_path / name, {})
    with pytest.raises(UsageError, match="different projects"):
        Project.find([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["-q", "tests/test_a.py"], ["-q"]),
        (["-k", "fast and not slow", "-x"], ["-x"]),
        (["-m", "unit", "--tb", "short", "tests"], ["--tb", "short"]),
        (["-p", "no:x", "--rootdir=.", "a.py::test_b"], ["-p", "no:x", "--rootdir=."]),
        (["-kfast", "--strict-markers", "tests"], ["--strict-markers"]),
        (["--mine", "long" * 100, "tests"], ["--mine", "long" * 100]),
    ],
)
def test_options_that_select_tests_are_dropped_where_tests_are_named(
    tmp_path: Path, arguments: list[str], options: list[str]
) -> None:
    (tmp_path / "tests").mkdir()
    assert options_of(arguments, tmp_path) == options
