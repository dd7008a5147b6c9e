"""The trial of each layer, run for real in interpreters of their own; only the memory of a process must be made up off a Mac."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mlx_selfdebug.sandbox.confinement import macos
from mlx_selfdebug.sandbox.confinement.layout import Layout, Plan

CONFINED = """
import json, os, sys
from mlx_selfdebug.sandbox.confinement import macos
from mlx_selfdebug.sandbox.confinement.layout import Layout, Plan
if os.getuid() == 0 and "root" not in sys.argv:
    os.setuid(65534)
macos._on_macos = lambda: True
macos.footprint = lambda pid: 9 << 20
spare = os.dup(1)
{before}
confinement = macos.confine_zygote(Plan(Layout("/x", ("/y",)), (0, 1, 2), frozenset({without})))
result = {{"layers": confinement.layers, "details": confinement.details}}
try:
    os.fstat(spare)
except OSError:
    result["spare"] = "closed"
reader, writer = os.pipe()
if os.fork() == 0:
    confinement.apply()
    try:
        os.fork()
    except OSError:
        os.write(writer, b"refused")
    os._exit(0)
os.close(writer)
result["fork"] = os.read(reader, 100).decode()
print(json.dumps(result))
"""
NO_CHILDREN = """
real_fork, forks = os.fork, []
def fork():
    forks.append(1)
    if len(forks) == 1:
        raise BlockingIOError(35, "no more processes")
    return real_fork()
os.fork = fork
"""
ALL_DENIED = """
def refuse():
    raise PermissionError
macos._FORBIDDEN_ACTIONS = dict.fromkeys(macos._FORBIDDEN_ACTIONS, refuse)
"""
NOTHING_TO_SEE = """
def absent():
    raise FileNotFoundError
macos._FORBIDDEN_ACTIONS = dict.fromkeys(macos._FORBIDDEN_ACTIONS, absent)
"""
NO_LIMITS = """
def refuse(which, limits):
    raise ValueError("not allowed to raise maximum limit")
macos.resource.setrlimit = refuse
"""
NO_SIGNALS = """
def refuse(pid, number):
    raise PermissionError
macos.os.kill = refuse
"""


def confined(before: str = "", without: str = "()", *arguments: str) -> dict[str, object]:
    code = CONFINED.format(before=before, without=without)
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(sys.platform == "darwin", reason="has a sandbox to be in")
def test_elsewhere_no_layer_is_in_force() -> None:
    confinement = macos.confine_zygote(Plan(Layout("/x", ("/y",)), (0, 1, 2)))
    assert confinement.layers == ()
    assert set(confinement.details) == set(macos.LAYERS)
    confinement.apply()


def test_a_zygote_that_stands_every_trial() -> None:
    result = confined(ALL_DENIED)
    assert result["layers"] == list(macos.LAYERS)
    assert result["details"] == {
        "seatbelt": "denied: to list /Users, to read /private/etc/hosts, to connect a socket",
        "process_limit": "RLIMIT_NPROC 1",
        "footprint": "a child holds 9 MiB before it runs",
    }


def test_a_child_starts_no_process_and_other_descriptors_are_closed() -> None:
    result = confined()
    assert (result["fork"], result["spare"]) == ("refused", "closed")


def test_what_an_unconfined_zygote_could_do_is_named() -> None:
    result = confined()
    assert "seatbelt" not in result["layers"]
    assert "connect a socket" in result["details"]["seatbelt"]


def test_a_trial_that_tells_nothing_counts_as_absent() -> None:
    assert confined(NOTHING_TO_SEE)["details"]["seatbelt"] == "absent: no action showed whether it is in force"


def test_memory_that_cannot_be_read_is_no_layer() -> None:
    result = confined("macos.footprint = lambda pid: 0")
    assert result["details"]["footprint"] == "absent: the memory of a child cannot be read"


def test_a_zygote_that_cannot_end_its_child_has_no_memory_layer_and_does_not_hang() -> None:
    assert confined(NO_SIGNALS)["details"]["footprint"] == "absent: a child cannot be ended"


def test_a_zygote_that_cannot_fork_says_so() -> None:
    details = confined(NO_CHILDREN)["details"]
    assert details["process_limit"] == details["footprint"] == "absent: no child could be tried (no more processes)"


def test_a_child_whose_limit_cannot_be_set_says_so() -> None:
    details = confined(NO_LIMITS)["details"]
    assert details["process_limit"] == "absent: the limit of a child cannot be set"
    assert details["footprint"] == "a child holds 9 MiB before it runs"


def test_a_layer_can_be_left_out() -> None:
    result = confined("", "('process_limit',)")
    assert "process_limit" not in result["layers"]
    assert result["details"]["process_limit"] == "absent: left out"
    assert result["fork"] == ""


@pytest.mark.skipif(os.getuid() != 0, reason="must be root")
def test_root_has_no_process_limit() -> None:
    assert confined("", "()", "root")["details"]["process_limit"] == "absent: the limit does not hold for root"
