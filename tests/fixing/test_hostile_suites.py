"""A hostile test never passes, never reaches out, and does not keep the next run from being served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.fixing.suite import Suite, SuiteLimits, open_suite
from tests.fixing.hostile_tests import ATTACKS, file_with
from tests.fixing.projects import contents, project_at, write_project
from tests.sandbox.test_escapes import python_of_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the attacks use Linux's ways out")
LIMITS = SuiteLimits(wall_s=10, stall_s=2, memory_bytes=512 << 20)
HONEST = "import unittest\n\nclass T(unittest.TestCase):\n    def test_ok(self):\n        pass\n"
ROOT = Path(__file__).parents[2]


class Place:
    """A project, and what lies outside of it."""

    def __init__(self, folder: Path, framework: str = "pytest") -> None:
        self.framework = framework
        self.project = write_project(folder / "project", {"test_m.py": HONEST})
        self.outside = folder / "outside.txt"
        self.outside.write_text("as it was")
        self.before = contents(folder)
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)

    def open(self):
        return open_suite(project_at(self.project, framework=self.framework), LIMITS)

    def attacked(self, suite: Suite, name: str) -> list[str]:
        """Run one attack and return what is wrong with how it ended."""
        suite.on_disk = True
        text = file_with(name, str(self.outside), str(self.project / "test_m.py"), self.listener.getsockname()[1])
        run = suite.run((), {"test_m.py": text}).result(timeout=120)
        again = suite.run().result(timeout=120)
        wrong = []
        if any(test.outcome == "passed" for test in run.tests.values()):
            wrong.append("it passed")
        if [test.outcome for test in again.tests.values()] != ["passed"]:
            wrong.append(f"the next run was not served: {again}")
        if contents(self.folder) != self.before:
            wrong.append("something outside has changed")
        try:
            self.listener.accept()
            wrong.append("it was connected")
        except BlockingIOError:
            pass
        return wrong


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def suite(place: Place) -> Iterator[Suite]:
    with place.open() as opened:
        yield opened


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_as_it_has_to(name: str, place: Place, suite: Suite) -> None:
    assert place.attacked(suite, name) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_the_attacks_end_alike_for_a_user_who_is_not_root() -> None:
    python = python_of_others()
    command = [python, "-m", "tests.fixing.as_other_user"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"uid": 65534, "level": "full", "wrong": {}}
