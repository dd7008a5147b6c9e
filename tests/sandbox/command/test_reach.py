"""What is shown to a command, and in which order it is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement import bubblewrap, landlock
from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.process_limit import kernel_version
from mlx_selfdebug.sandbox.confinement.reach import Reach, Writable, layout_of, links_on_the_way, virtual_environment
from mlx_selfdebug.sandbox.confinement.roots import Bind, Memory, open_for
from mlx_selfdebug.sandbox.processes.growth import MAX_DEPTH, Growth

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mounts on Linux")
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/x/" + "/".join(parts))
LAYOUT = Layout("/x/python", ("/x/lib",))


def test_an_interpreter_is_asked_for_its_installation() -> None:
    layout = layout_of(sys.executable)
    assert layout.executable == os.path.realpath(sys.executable)
    assert layout.hidden == layout.packages == ()
    assert os.path.realpath(os.__file__).startswith(tuple(path + "/" for path in layout.stdlib))


def test_a_virtual_environment_is_known_by_its_file() -> None:
    assert virtual_environment(f"{sys.prefix}/bin/python") == (sys.prefix if sys.prefix != sys.base_prefix else None)
    assert virtual_environment("/usr/bin/env") is None


def test_every_link_on_the_way_is_found(tmp_path: Path) -> None:
    (tmp_path / "real/bin").mkdir(parents=True)
    (tmp_path / "real/bin/python3").write_text("")
    (tmp_path / "real/bin/python").symlink_to("python3")
    (tmp_path / "current").symlink_to("real")
    (tmp_path / "python").symlink_to(tmp_path / "current/bin/python")
    assert list(links_on_the_way(f"{tmp_path}/python")) == [
        (f"{tmp_path}/python", f"{tmp_path}/current/bin/python"),
        (f"{tmp_path}/current", "real"),
        (f"{tmp_path}/real/bin/python", "python3"),
    ]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(list(links_on_the_way(f"{tmp_path}/a"))) <= 40


@linux_only
@given(st.sets(PATHS, max_size=5), st.lists(PATHS, min_size=1, max_size=3, unique=True))
def test_no_mount_covers_another_and_every_path_is_shown_as_it_should_be(
    readable: set[str], writable: list[str]
) -> None:
    reach = Reach(
        LAYOUT,
        "/x/python",
        "/x/tmp",
        readable=tuple(readable),
        writable=tuple(Writable(f"/scratch{p}", p) for p in writable),
    )
    mounts = open_for(reach).mounts
    targets = [mount.target for mount in mounts]
    assert len(set(targets)) == len(targets)
    assert not [(a, b) for n, a in enumerate(targets) for b in targets[n + 1 :] if a.startswith(b + "/")]
    for path in (*readable, *writable):
        innermost = max((m for m in mounts if (path + "/").startswith(m.target + "/")), key=lambda m: len(m.target))
        assert isinstance(innermost, Bind)
        assert innermost.source.startswith("/scratch") == (path in writable)
        assert bool(innermost.attributes & 1) == (path not in writable)


@linux_only
def test_what_can_be_written_cannot_be_executed() -> None:
    mounts = open_for(Reach(LAYOUT, "/x/python", "/x/tmp", writable=(Writable("/scratch", "/x/project"),))).mounts
    assert all(isinstance(mount, Memory) or mount.attributes & (1 | 8) for mount in mounts)


@linux_only
def test_landlock_lets_the_interpreter_alone_be_executed_and_its_folders_alone_be_written() -> None:
    reach = Reach(LAYOUT, "/x/python", "/x/tmp", readable=("/x/data",), writable=(Writable("/scratch", "/x/project"),))
    rules = list(landlock.command_rules(reach, ["/x/project", "/x/tmp"]))
    executable = {rule.path for rule in rules if rule.rights & 1}
    assert executable == set(reach.executables)
    assert "/x/python" in executable
    writing = 1 << 1 | 1 << 5 | 1 << 8
    assert {rule.path for rule in rules if rule.rights & writing} == {"/x/project", "/x/tmp"}


@linux_only
def test_landlock_lets_a_single_file_be_written(tmp_path: Path) -> None:
    """The kernel refuses a rule that grants a folder's rights on a file."""
    (tmp_path / "file").touch()
    (tmp_path / "other").touch()
    code = f"""
from mlx_selfdebug.sandbox.confinement import landlock
reach = landlock.Reach(landlock.Layout("/x/python", ()), "/x/python", "/x/tmp")
rules = [rule for rule in landlock.command_rules(reach, [{str(tmp_path / "file")!r}]) if rule.path.startswith({str(tmp_path)!r})]
try:
    abi = landlock.version()
except OSError:
    raise SystemExit("no Landlock")
landlock.enter(rules, abi)
open({str(tmp_path / "file")!r}, "w").close()
try:
    open({str(tmp_path / "other")!r}, "w")
except PermissionError:
    print("confined")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "no Landlock" in ended.stderr:
        pytest.skip("the kernel has no Landlock")
    assert ended.stdout == "confined\n", ended.stderr


@linux_only
def test_landlock_lets_a_named_program_be_executed_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "prover").touch()
    (tmp_path / "link").symlink_to("prover")
    reach = Reach(LAYOUT, "/x/python", "/x/tmp", programs=(f"{tmp_path}/link",))
    executable = {rule.path for rule in landlock.command_rules(reach, []) if rule.rights & 1}
    assert str(tmp_path / "prover") in executable
    assert (f"{tmp_path}/link", "prover") in reach.links


@linux_only
def test_bubblewraps_command_shows_the_same_root() -> None:
    reach = Reach(LAYOUT, "/x/python", "/x/tmp", temporary_bytes=7, writable=(Writable("/scratch", "/x/project"),))
    words = bubblewrap.command_for(open_for(reach), ["/x/python", "-c", "1"], environment={"A": "b"})
    text = " ".join(words)
    assert words[-5:] == ["/", "--", "/x/python", "-c", "1"]
    assert "--bind /scratch /x/project" in text
    assert "--size 7 --tmpfs /x/tmp" in text
    assert "--ro-bind /x/python /x/python" in text
    assert "--share-net" not in text
    shared = bubblewrap.command_for(
        open_for(Reach(LAYOUT, "/x/python", "/x/tmp", network=True)), ["/x/python"], environment={}
    )
    assert "--share-net" in shared


@pytest.mark.parametrize(
    ("release", "version"), [("6.14.0-rc1", (6, 14)), ("5.4.0-150-generic", (5, 4)), ("4.4", (4, 4)), ("odd", (0, 0))]
)
def test_the_version_of_a_kernel(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


def test_growth_is_what_comes_on_top_of_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(b"x" * 100_000)
    growth = Growth([str(tmp_path)], max_files=3)
    assert growth.excess(50_000) == ""
    (tmp_path / "after").write_bytes(b"x" * 100_000)
    assert growth.excess(50_000) == "more than 50000 bytes"
    assert growth.excess(1 << 30) == ""
    for number in range(4):
        (tmp_path / str(number)).touch()
    assert growth.excess(1 << 30) == "more than 3 files"


def test_growth_follows_no_link_and_no_folder_hides_from_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "big").write_bytes(b"x" * 1_000_000)
    growth = Growth([str(tmp_path / "root")], max_files=1000)
    (tmp_path / "root/link").symlink_to(tmp_path)
    assert growth.excess(100_000) == ""
    (tmp_path / "root" / "/".join("d" * (MAX_DEPTH + 2))).mkdir(parents=True)
    assert growth.excess(1 << 30) == f"folders more than {MAX_DEPTH} deep"
