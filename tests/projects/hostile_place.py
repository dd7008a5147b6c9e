"""A project that is attacked by its own tests, and what lies outside of it. Needs no pytest, so that any interpreter can run it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_selfdebug.projects.suite import Suite, SuiteLimits, open_suite
from tests.projects.hostile_tests import file_with
from tests.projects.made import contents, project_at, write_project

LIMITS = SuiteLimits(wall_s=10, stall_s=2, memory_bytes=512 << 20)
HONEST = "import unittest\n\nclass T(unittest.TestCase):\n    def test_ok(self):\n        pass\n"


class Place:
    """A project, and what lies outside of it."""

    def __init__(self, folder: Path, framework: str = "pytest") -> None:
        self.framework = framework
        self.project = write_project(folder / "project", {"test_m.py": HONEST})
        self.outside = folder / "outside.txt"
        self.outside.write_text("as it was")
        self.before = contents(folder)
        self.folder = folder

    @contextmanager
    def open(self) -> Iterator[Suite]:
        """Open the project's suite, and listen for as long as it is open to who is called from inside."""
        with (
            socket.create_server(("127.0.0.1", 0)) as self.listener,
            open_suite(project_at(self.project, framework=self.framework), LIMITS) as suite,
        ):
            self.listener.setblocking(False)
            yield suite

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
