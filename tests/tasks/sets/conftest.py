"""Files of public sets, where a folder with them is named by MLX_SELFDEBUG_TEST_DATA."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.tasks import Task


@pytest.fixture
def data() -> Callable[[str], Path]:
    """The path of a file below that folder; skips the test if it is not there."""

    def path(name: str) -> Path:
        folder = os.environ.get("MLX_SELFDEBUG_TEST_DATA", "")
        if not folder or not Path(folder, name).exists():
            pytest.skip(f"MLX_SELFDEBUG_TEST_DATA names no folder with {name}")
        return Path(folder, name)

    return path


@pytest.fixture
def errors() -> Callable[[list[Task]], list[str]]:
    """What is wrong with tasks once they have been run."""

    def errors(tasks: list[Task]) -> list[str]:
        # The set's own limits are for usual machines. Here a slow one may be busy with other tests as well.
        with open_runner(SandboxConfig(workers=2, wall_s=60.0, cpu_s=30.0), tasks) as runner:
            found = check_tasks(tasks, runner)
        return [f"{problem.task_id}: {problem.what}" for problem in found if problem.severity == "error"]

    return errors
