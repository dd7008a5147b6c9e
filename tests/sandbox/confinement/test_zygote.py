"""What becomes of the zygote: its descriptors, its end, and what a kernel that offers less makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.sandbox.confinement import bubblewrap
from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from tests.sandbox.confinement import probes
from tests.sandbox.confinement.conftest import linux_only
from tests.sandbox.confinement.room import NOBODY, Room

pytestmark = linux_only
WITH_AND_WITHOUT = pytest.mark.parametrize("left_out", [(), ("namespaces",)], ids=["namespaces", "no namespaces"])
_TRUSTED = """
import sys, time
from tests.sandbox.confinement.room import Room
room = Room(sys.argv[1:])
room.start("while True: pass")
print(room.process.pid, flush=True)
time.sleep(600)
"""


@WITH_AND_WITHOUT
def test_only_the_descriptors_it_was_told_stay_open(left_out: tuple[str, ...], possible: tuple[str, ...]) -> None:
    with Room(left_out) as room:
        assert set(room.fds) == {0, 1, 2, room.control}
        if "namespaces" in room.layers:
            assert room.pid == 1
            links = [os.readlink(link) for link in Path(f"/proc/{room.process.pid}/fd").iterdir()]
            assert [link.split(":")[0] for link in links] == ["pipe"], "the launcher keeps the pipe alone"


@WITH_AND_WITHOUT
def test_it_ends_with_its_control_socket_and_says_so(left_out: tuple[str, ...]) -> None:
    room = Room(left_out)
    pids = family(room.process.pid)
    assert room.close() == 0
    assert survivors(pids) == []


@WITH_AND_WITHOUT
@pytest.mark.parametrize("victim", ["launcher", "zygote"])
def test_killing_a_process_on_the_way_leaves_none(left_out: tuple[str, ...], victim: str) -> None:
    room = Room(left_out)
    room.start("while True: pass")
    pids = wait_for_candidate(room.process.pid, "namespaces" in room.layers)
    target = pids[1] if victim == "zygote" and "namespaces" in room.layers else pids[0]
    os.kill(target, signal.SIGKILL)
    assert room.process.wait(10) == -signal.SIGKILL
    assert survivors(pids) == []


@WITH_AND_WITHOUT
def test_killing_the_trusted_process_leaves_none(left_out: tuple[str, ...], possible: tuple[str, ...]) -> None:
    trusted = subprocess.Popen([sys.executable, "-c", _TRUSTED, *left_out], stdout=subprocess.PIPE, text=True)
    assert trusted.stdout
    with trusted.stdout as output:
        launcher = int(output.readline())
    pids = wait_for_candidate(launcher, "namespaces" in possible and not left_out)
    trusted.kill()
    trusted.wait()
    assert survivors(pids) == []


def test_a_signal_that_ends_the_zygote_ends_the_launcher_alike(possible: tuple[str, ...]) -> None:
    if not {"namespaces", "seccomp"} <= set(possible):
        pytest.skip("not both layers here")
    room = Room()
    room.start("", here="import os; os.chmod('/', 0)")
    assert room.process.wait(10) == -signal.SIGSYS


@pytest.mark.parametrize("abi", range(1, 8))
def test_an_older_landlock_denies_what_it_knows(abi: int, names: dict[str, Any], possible: tuple[str, ...]) -> None:
    with Room(("namespaces", "capabilities", "seccomp"), names=names, abi=abi) as room:
        if "landlock" not in room.layers:
            pytest.skip("no Landlock here, or an older one")
        works = {probe.name: room.run(probe.source).startswith("ok") for probe in probes.ALL}
        assert not works["read a file"]
        assert not works["make a file"]
        assert works["truncate a file"] == (abi < 3)
        assert works["connect by TCP"] == (abi < 4)
        assert works["signal a process outside"] == works["connect to an abstract socket"] == (abi < 6)
        assert room.run(probes.HARMLESS["null device"]) == "ok"


def test_with_an_old_landlock_the_other_layers_close_the_rest(names: dict[str, Any], possible: tuple[str, ...]) -> None:
    with Room(names=names, abi=1) as room:
        if set(room.layers) != set(possible):
            pytest.skip("not all layers here")
        assert [probe.name for probe in probes.ALL if room.run(probe.source).startswith("ok")] == []


def test_namespaces_that_fail_half_way_change_nothing(names: dict[str, Any], possible: tuple[str, ...]) -> None:
    # The package vanishes under the mounts, so its own cannot be made.
    layout = replace(this_interpreter(), packages=("/dev/null/nothing",))
    with Room(names=names, layout=layout) as room:
        assert "namespaces" not in room.layers
        assert set(room.layers) == set(possible) - {"namespaces"}
        assert room.details["namespaces"].startswith("absent: ")
        assert room.pid == room.process.pid
        assert room.run(probes.HARMLESS["stdlib"]).startswith("ok")


@pytest.mark.skipif(os.getuid() != 0, reason="uses what another user owns")
def test_root_can_show_what_lies_in_another_users_home(tmp_path: Path, possible: tuple[str, ...]) -> None:
    if "namespaces" not in possible:
        pytest.skip("no namespaces here")
    package = tmp_path / "home/visitor"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("here = 7")
    os.chown(package.parent, NOBODY, NOBODY)
    package.parent.chmod(0o700)
    with Room(layout=replace(this_interpreter(), packages=(str(package),)), path=[str(package.parent)]) as room:
        assert room.run("import visitor; result = visitor.here") == "ok 7"


needs_bubblewrap = pytest.mark.skipif(
    not bubblewrap.works(), reason="bubblewrap is not installed or does not work here"
)


@needs_bubblewrap
def test_inside_bubblewrap_every_attack_fails_and_programs_work(names: dict[str, Any]) -> None:
    with Room(("namespaces",), names=names, wrap=wrapped()) as room:
        assert "seccomp" in room.layers
        assert [probe.name for probe in probes.ALL if room.run(probe.source).startswith("ok")] == []
        outcomes = {name: room.run(source) for name, source in probes.HARMLESS.items()}
        assert {name: outcome for name, outcome in outcomes.items() if not outcome.startswith("ok")} == {}
        pids = family(room.process.pid)
    assert len(pids) > 1
    assert survivors(pids) == []


@needs_bubblewrap
def test_bubblewrap_alone_stops_what_namespaces_stop(names: dict[str, Any]) -> None:
    with Room(("namespaces", "capabilities", "landlock", "seccomp"), names=names, wrap=wrapped()) as room:
        assert room.layers == ()
        # Its network has a loopback of its own, into which a datagram vanishes.
        attacks = [probe for probe in probes.ALL if "namespaces" in probe.stopped_by and probe.name != "send by UDP"]
        assert [probe.name for probe in attacks if room.run(probe.source).startswith("ok")] == []


@needs_bubblewrap
def test_where_user_namespaces_are_refused_the_layer_is_absent_and_the_rest_in_force(names: dict[str, Any]) -> None:
    """Inside a bubblewrap that forbids them, and without /proc, as in some containers."""
    with Room(names=names, wrap=wrapped("--unshare-user", "--disable-userns")) as room:
        assert "namespaces" not in room.layers
        assert room.details["namespaces"].startswith("absent: ")
        assert "seccomp" in room.layers
        assert room.run(probes.HARMLESS["threads"]) == "ok"


def wrapped(*options: str) -> Callable[[list[str]], list[str]]:
    def wrap(command: list[str]) -> list[str]:
        whole = bubblewrap.command(this_interpreter(), command, environment={"LC_ALL": "C.UTF-8"})
        return [whole[0], *options, *whole[1:]]

    return wrap


def family(pid: int) -> list[int]:
    """The process and what descends from it, by the numbers outside."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def wait_for_candidate(launcher: int, namespaces: bool) -> list[int]:
    """The launcher, the zygote (often the same), a grader and a candidate."""
    deadline = time.monotonic() + 10
    while len(pids := family(launcher)) < 3 + namespaces and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(pids) == 3 + namespaces
    time.sleep(0.05)  # for the candidate to be confined
    return pids


def survivors(pids: Iterable[int]) -> list[int]:
    deadline = time.monotonic() + 5
    while (alive := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
