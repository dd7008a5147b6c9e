"""The sets that come with the package: every reference passes, every answer said to be wrong fails."""

from __future__ import annotations

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.tasks import load_tasks

pytestmark = pytest.mark.slow

EVERY = {"garden": 1, "garden-duckdb": 4, "regex": 1, "jq": 1, "pandas": 1, "polars": 1}
"""The starter set has tests of its own (test_starter.py)."""


@pytest.mark.parametrize("name", EVERY)
def test_references_pass_and_wrong_answers_fail(name: str):
    tasks = load_tasks(name)[:: EVERY[name]]
    with open_runner(SandboxConfig(workers=2), tasks) as runner:
        assert check_tasks(tasks, runner) == []


@pytest.mark.parametrize("name", EVERY)
def test_every_task_has_public_and_hidden_checks_and_most_declare_wrong_answers(name: str):
    tasks = load_tasks(name)
    assert [task.id for task in tasks if not (task.public and task.hidden)] == []
    assert sum(bool(task.wrong) for task in tasks) >= 0.75 * len(tasks)


@pytest.mark.parametrize("name", EVERY)
def test_hidden_checks_are_not_the_public_ones(name: str):
    assert [task.id for task in load_tasks(name) if task.public == task.hidden] == []


def test_there_are_60_questions_in_sql_and_40_tasks_on_tables_and_text():
    assert len(load_tasks("garden")) >= 60
    assert sum(len(load_tasks(name)) for name in ("regex", "jq", "pandas")) >= 40
