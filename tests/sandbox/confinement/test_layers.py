"""Every attack against every combination of layers: it works where no layer of its row is in force, and only there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import fields
from typing import Any

import pytest

from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter
from mlx_selfdebug.sandbox.confinement.linux import LAYERS
from tests.sandbox.confinement import probes
from tests.sandbox.confinement.conftest import is_root, linux_only, paths_of, subsets
from tests.sandbox.confinement.room import NOBODY, Room, sources

pytestmark = linux_only
# Not in every kernel or file system, or only for root.
MAY_LACK = {
    "xattr", "raw packets", "change root", "mount", "new mount namespace", "new user namespace", "io_uring", "key ring",
    "a call newer than the table", "the 32-bit machine", "send by IPv6", "trace", "read another's memory", "shared memory",
    "asynchronous reading", "personality", "change the library", "read another package", "list other packages",
}  # fmt: skip
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def working(names: dict[str, Any]) -> list[probes.Probe]:
    """The attacks that do work here when nothing is in force; without that, their failing would mean nothing."""
    return works_unconfined(names)


def works_unconfined(names: dict[str, Any], **options: Any) -> list[probes.Probe]:
    by_number = [] if platform.machine() == "x86_64" else probes.KERNEL
    with Room(LAYERS, names=names, **options) as room:
        assert room.layers == ()
        return [probe for probe in probes.ALL if probe not in by_number and room.run(probe.source).startswith("ok")]


def not_as_said(room: Room, attacks: list[probes.Probe]) -> dict[str, str]:
    outcomes = {probe: room.run(probe.source) for probe in attacks}
    in_force = set(room.layers)
    return {
        probe.name: outcome
        for probe, outcome in outcomes.items()
        if outcome.startswith("ok") == bool(probe.stopped_by & in_force)
    }


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by number are those of x86-64")
def test_the_attacks_work_when_nothing_is_in_force(working: list[probes.Probe]) -> None:
    broken = {probe.name for probe in probes.ALL} - {probe.name for probe in working}
    assert broken <= MAY_LACK
    if is_root():
        assert len(working) > 60


@pytest.mark.parametrize(
    "left_out", subsets(), ids=lambda left_out: "without " + ("+".join(sorted(left_out)) or "nothing")
)
def test_an_attack_fails_exactly_if_a_layer_that_stops_it_is_in_force(
    left_out: frozenset[str], names: dict[str, Any], working: list[probes.Probe], possible: tuple[str, ...]
) -> None:
    with Room(left_out, names=names) as room:
        assert room.layers == tuple(name for name in possible if name not in left_out)
        assert set(room.details) == set(LAYERS)
        assert not_as_said(room, working) == {}
        broken = {
            name: outcome
            for name, source in probes.HARMLESS.items()
            if not (outcome := room.run(source)).startswith("ok")
        }
        assert broken == {}


def test_what_no_honest_program_does_shows_as_a_bad_system_call(
    names: dict[str, Any], possible: tuple[str, ...]
) -> None:
    if "seccomp" not in possible:
        pytest.skip("no seccomp here")
    with Room(names=names) as room:
        for name in (
            "connect by TCP",
            "send by UDP",
            "fork",
            "vfork",
            "spawn",
            "signal the zygote",
            "signal its group",
            "chmod",
            "new user namespace",
        ):
            probe = next(probe for probe in probes.ALL if probe.name == name)
            assert room.run(probe.source) == "SIGSYS", name
        assert room.run("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)") == "SIGSYS"


def test_a_candidate_cannot_end_its_grader(names: dict[str, Any], possible: tuple[str, ...]) -> None:
    with Room(names=names) as room:
        before = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [1])\n"
        assert not room.run(before + "import os; os.kill(GRADER, 15)").startswith("ok")
        assert room.grader_ended_by == 9


@pytest.mark.parametrize("left_out", [frozenset(), frozenset({"namespaces"}), frozenset({"landlock"})], ids=str)
def test_a_package_that_is_allowed_can_be_imported_and_no_other(
    left_out: frozenset[str], names: dict[str, Any]
) -> None:
    layout = this_interpreter(("numpy",))
    site = os.path.dirname(layout.packages[0])
    source = "import numpy, numpy.linalg, numpy.fft; result = float(numpy.linalg.det(numpy.eye(3) @ numpy.ones((3, 3)) + numpy.eye(3)))"
    with Room(left_out, layout=layout, path=[site], names=names) as room:
        assert room.run(source).startswith("ok 4.0"), left_out
        assert not room.run("import click").startswith("ok")


@pytest.mark.skipif(not is_root(), reason="becomes another user")
@pytest.mark.parametrize(
    "left_out",
    [frozenset(), *(frozenset({name}) for name in LAYERS)],
    ids=lambda left_out: "".join(left_out) or "nothing",
)
def test_another_user_is_confined_as_well(
    left_out: frozenset[str], as_nobody: dict[str, Any], nobodys: list[probes.Probe]
) -> None:
    with Room(left_out, **as_nobody) as room:
        assert set(room.layers) | left_out == set(LAYERS), room.details
        assert not_as_said(room, nobodys) == {}
        broken = {
            name: outcome
            for name, source in probes.HARMLESS.items()
            if not (outcome := room.run(source)).startswith("ok")
        }
        assert broken == {}


@pytest.fixture(scope="module")
def as_nobody(names: dict[str, Any]) -> dict[str, Any]:
    """Another user's room, in an interpreter that this user can reach."""
    layout = layout_of(SYSTEM_PYTHON)
    return {"layout": layout, "user": NOBODY, "names": names | paths_of(layout)}


@pytest.fixture(scope="module")
def nobodys(as_nobody: dict[str, Any]) -> list[probes.Probe]:
    options = {key: value for key, value in as_nobody.items() if key != "names"}
    found = works_unconfined(as_nobody["names"], **options)
    assert len(found) > 50
    return found


def layout_of(python: str) -> Layout:
    """What ``this_interpreter`` says in another interpreter."""
    code = dict(sources())["mlx_selfdebug.sandbox.confinement.layout"] or ""
    show = "\nimport json, dataclasses; print(json.dumps(dataclasses.asdict(this_interpreter()) | {'version': sys.version_info[:2]}))"
    boot = f"import sys; m = sys.modules['x'] = type(sys)('x'); exec({code + show!r}, m.__dict__)"
    try:
        done = subprocess.run([python, "-S", "-c", boot], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no usable {python}")
    found = json.loads(done.stdout)
    if tuple(found.pop("version")) < (3, 11):
        pytest.skip(f"{python} is too old")
    return Layout(
        **{
            field.name: tuple(found[field.name]) if field.name != "executable" else found["executable"]
            for field in fields(Layout)
        }
    )
