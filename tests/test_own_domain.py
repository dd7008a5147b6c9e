"""The example of a domain from outside the package: its class and its tasks are sound."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains.running import open_runner

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_domain.py"


@pytest.fixture(scope="module")
def example() -> SimpleNamespace:
    """What the script defines before it begins to work."""
    definitions, heading, _ = EXAMPLE.read_text(encoding="utf-8").partition("# ## Everything else is there")
    assert heading
    names: dict[str, object] = {}
    exec(compile(definitions, EXAMPLE, "exec"), names)
    return SimpleNamespace(**names)


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
