"""What a scratch copy holds, and that nothing stays of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.sandbox import scratch_copy
from mlx_selfdebug.sandbox.owned_folders import owned_folder, remove_tree

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in {".", "..", ".git", ".hg", ".svn"}
)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project", "a.py", "src/b.py", ".venv/pyvenv.cfg", ".venv/c", "src/__pycache__/d.pyc")


def git(project: Path, *words: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *words], cwd=project, check=True, capture_output=True)


def test_without_git_all_is_copied_but_environments_and_caches(project: Path) -> None:
    with scratch_copy(project) as scratch:
        assert tree(scratch.folder) == {"a.py": "a.py", "src/b.py": "src/b.py"}
        assert (scratch.n_files, scratch.n_bytes) == (2, 12)
    assert not scratch.folder.exists()


def test_with_git_tracked_and_new_files_are_copied_and_ignored_ones_are_not(project: Path) -> None:
    make(project, "new.py", "big.bin", "_version.py")
    (project / ".gitignore").write_text(".venv\n__pycache__\n*.bin\n_version.py\n")
    git(project, "init")
    git(project, "add", "a.py", "src/b.py", ".gitignore")
    with scratch_copy(project) as scratch:
        assert set(tree(scratch.folder)) == {"a.py", "src/b.py", ".gitignore", "new.py"}
    with scratch_copy(project, also=["_version.py"]) as scratch:
        assert "_version.py" in tree(scratch.folder)


def test_a_file_that_git_tracks_and_someone_deleted_is_left_out(project: Path) -> None:
    git(project, "init")
    git(project, "add", "a.py", "src/b.py")
    (project / "a.py").unlink()
    with scratch_copy(project) as scratch:
        assert "a.py" not in tree(scratch.folder)


def test_git_starts_no_program_that_the_project_names(project: Path, tmp_path: Path) -> None:
    git(project, "init")
    hook = make(tmp_path, "hook") / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    hook.chmod(0o755)
    git(project, "config", "core.fsmonitor", str(hook))
    with scratch_copy(project):
        pass
    assert not (tmp_path / "started").exists()


def test_links_out_of_the_project_are_left_out_and_those_within_lead_to_the_copy(project: Path, tmp_path: Path) -> None:
    make(tmp_path, "secret/x")
    for name, aim in {
        "out": "../secret",
        "away": str(tmp_path / "secret/x"),
        "src/in": "b.py",
        "whole": str(project / "a.py"),
        "folder": "src",
    }.items():
        (project / name).symlink_to(aim)
    with scratch_copy(project) as scratch:
        assert scratch.left_out == ("away", "out")
        for name in ("src/in", "whole", "folder"):
            assert os.path.realpath(scratch.folder / name).startswith(str(scratch.folder))
        (scratch.folder / "whole").write_text("changed")
    assert (project / "a.py").read_text() == "a.py"


def test_modes_and_times_are_kept_without_the_bits_that_give_rights_away(project: Path) -> None:
    (project / "a.py").chmod(0o6755)
    os.utime(project / "a.py", (1, 1))
    with scratch_copy(project) as scratch:
        found = (scratch.folder / "a.py").stat()
        assert (found.st_mode & 0o7777, found.st_mtime) == (0o755, 1)


def test_pipes_and_sockets_are_not_copied(project: Path) -> None:
    os.mkfifo(project / "pipe")
    with scratch_copy(project) as scratch:
        assert not (scratch.folder / "pipe").exists()


def test_what_is_not_copied_is_not_counted(project: Path) -> None:
    os.mkfifo(project / "pipe")
    (project / "away").symlink_to("/")
    with scratch_copy(project) as scratch:
        assert scratch.n_files == 2


def test_too_large_a_project_is_refused_with_its_largest_file(project: Path) -> None:
    (project / "data").write_bytes(b"x" * 5000)
    with (
        pytest.raises(UsageError, match=r"5,012 bytes to copy; at most 4,000.*data with 5,000"),
        scratch_copy(project, max_bytes=4000),
    ):
        pass
    with pytest.raises(UsageError, match="3 files to copy; at most 2"), scratch_copy(project, max_files=2):
        pass


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "nothing"])
def test_what_is_to_be_copied_as_well_lies_in_the_project(name: str, project: Path) -> None:
    with pytest.raises(UsageError, match="not the path of something within"), scratch_copy(project, also=[name]):
        pass


def test_a_project_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is not a folder"), scratch_copy(tmp_path / "nothing"):
        pass


def test_a_parent_in_which_others_may_write_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(SandboxError, match="only you can write in"), scratch_copy(project, parent=tmp_path / "shared"):
        pass


def test_the_copy_of_a_program_that_was_killed_goes_at_the_next_start(project: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    source = (
        "import sys, time\nfrom mlx_selfdebug.sandbox import scratch_copy\n"
        "with scratch_copy(sys.argv[1], parent=sys.argv[2]):\n    print('made', flush=True)\n    time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", source, str(project), str(parent)], stdout=subprocess.PIPE)
    assert owner.stdout
    with owner.stdout as output:
        output.readline()
    with scratch_copy(project, parent=parent):
        assert len([path for path in parent.iterdir() if path.is_dir()]) == 2, "that of a living owner stays"
    owner.kill()
    owner.wait()
    with scratch_copy(project, parent=parent):
        assert len([path for path in parent.iterdir() if path.is_dir()]) == 1
    assert list(parent.iterdir()) == []


def test_what_untrusted_code_left_is_removed_whatever_it_is(tmp_path: Path) -> None:
    kept = make(tmp_path / "kept", "x")
    with owned_folder(tmp_path / "parent", "x") as folder:
        (folder / "link").symlink_to(kept)
        make(folder, "closed/y")
        (folder / "closed").chmod(0)
        subprocess.run(
            [sys.executable, "-S", "-c", "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"],
            cwd=folder,
            check=True,
        )
    assert not folder.exists()
    assert (kept / "x").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.text(max_size=20), max_size=8))
def test_a_copy_holds_what_the_project_holds(tmp_path: Path, files: dict[str, str]) -> None:
    root = tmp_path / "any"
    root.mkdir()
    for name, text in files.items():
        try:
            make(root, name)
            (root / name).write_bytes(text.encode())
        except OSError:  # a name that is both a file and a folder
            continue
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with scratch_copy(root, parent=tmp_path / "parent") as scratch:
        assert {
            path.relative_to(scratch.folder): path.read_bytes() for path in scratch.folder.rglob("*") if path.is_file()
        } == {name: data for name, data in before.items() if not {"__pycache__", "node_modules"} & set(name.parts)}
    remove_tree(root)
    assert not root.exists()


def test_an_error_while_a_tree_is_removed_is_not_hidden_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    real = os.open

    def fails(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "inner":
            raise OSError(errno.EMFILE, "too many open files")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="too many open files"):
        remove_tree(tmp_path / "tree")
