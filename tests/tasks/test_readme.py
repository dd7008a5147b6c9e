"""The format's documentation says what the code does."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.tasks import load_tasks, schema
from mlx_selfdebug.tasks.jsonl import MAX_LINE_BYTES, read_tasks

README = Path(schema.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_example_line_is_a_sound_task(runner, write):
    example = next(line for line in README.splitlines() if line.startswith('{"id"'))
    assert check_tasks(read_tasks(write(example)), runner) == []


def test_the_table_lists_every_field_and_whether_it_is_required():
    rows = dict(re.findall(r"^\| `(\w+)` \| (required|optional) \|", README, re.MULTILINE))
    assert rows == {name: "required" if field.required else "optional" for name, field in schema.FIELDS.items()}


def test_the_numbers_in_it_are_so():
    assert f"{MAX_LINE_BYTES:,} bytes" in README
    assert f"{sum(bool(task.public) for task in load_tasks('humaneval'))} of 164 tasks" in README
    assert f"\n{len(load_tasks('starter'))} tasks of our own" in README


@pytest.mark.parametrize(
    "name",
    [
        "tasks",
        "tasks.jsonl",
        "tasks.files",
        "tasks.forms",
        "tasks.load",
        "tasks.schema",
        "tasks.task_set",
        "tasks.sets.database",
        "tasks.sets.evalplus_inputs",
        "tasks.sets.humaneval",
        "tasks.sets.mbpp",
        "values.checks",
        "translating.examples",
        "auditing.mutants",
    ],
)
def test_the_examples_of_a_module_run(name: str):
    module = importlib.import_module(f"mlx_selfdebug.{name}")
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)
