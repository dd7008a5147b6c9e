"""The example of a domain from outside the package: sound, and run from its drafts to its table."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.stage import open_runner
from mlx_selfdebug.tasks.verify import check_tasks

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_domain.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_domain", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_references_pass_and_an_empty_schedule_fails(example):
    with open_runner(SandboxConfig(workers=2), example.TASKS) as runner:
        assert check_tasks(example.TASKS, runner) == []


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("30 9 * * 1-5", "passed"),
        ("30 9 * * *", "failed"),
        ("9:30", "raised"),
        ("61 9 * * *", "raised"),
        ("", "raised"),
    ],
)
def test_a_schedule_is_judged_by_when_it_fires(example, line, outcome):
    task = example.TASKS[0]
    with open_runner(SandboxConfig(workers=1), [task]) as runner:
        assert example.CronDomain().judge(line, task, task.hidden, runner).result().outcome == outcome


def test_it_is_drafted_on_by_the_same_command_as_any_other(tiny_folder: Path, tmp_path: Path):
    command = [sys.executable, str(EXAMPLE), str(tiny_folder), str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    # A model of random weights solves nothing, so the example ends where there is nothing to learn from.
    assert "cron/workdays" in ended.stdout
    assert ended.stderr.strip().endswith("no task was both failed and solved: nothing to learn from")
