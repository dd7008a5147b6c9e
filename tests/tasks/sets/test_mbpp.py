"""MBPP: its splits, what is public, and its file's problems."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.sets.mbpp import LEFT_OUT, SPLITS

RECORD = {
    "task_id": 11,
    "text": "Write a function to double.",
    "code": "import re\r\ndef helper(x):\r\n    return x\r\ndef twice(x):\r\n    return helper(x) * 2",
    "test_list": ["assert twice(1) == 2", "assert twice(2) == 4", "assert twice(0) == 0"],
    "test_setup_code": "",
    "challenge_test_list": ["assert twice(-1) == -2"],
}


def test_the_first_assert_is_public_and_the_others_score(write):
    [task] = load_tasks(f"mbpp:{write(json.dumps(RECORD))}")
    assert (task.id, task.entry_point) == ("MBPP/11", "twice")
    assert task.public.source == "def check(candidate):\n    assert twice(1) == 2\n"
    assert task.hidden.source.count("assert") == 3
    assert "\r" not in task.reference


def test_a_split_has_its_own_ids_alone(write):
    path = write(*(json.dumps({**RECORD, "task_id": number}) for number in (10, 11, 510, 511, 600, 601, 974)))
    assert [task.id for task in load_tasks(f"mbpp:{path}")] == ["MBPP/11", "MBPP/510"]
    assert [task.id for task in load_tasks(f"mbpp-validation:{path}")] == ["MBPP/511", "MBPP/600"]
    assert [task.id for task in load_tasks(f"mbpp-train:{path}")] == ["MBPP/974"]


def test_a_file_without_tasks_of_the_split_is_an_error(write):
    with pytest.raises(TaskError, match="601 to 974"):
        load_tasks(f"mbpp-train:{write(json.dumps(RECORD))}")


def test_code_that_its_asserts_do_not_call_is_an_error(write):
    with pytest.raises(TaskError) as caught:
        load_tasks(f"mbpp:{write(json.dumps({**RECORD, 'test_list': ['assert thrice(1) == 3']}))}")
    assert "no assert calls a function of the code, which defines helper, twice" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("name", "split", "n"), [("mbpp", "test", 498), ("mbpp-validation", "validation", 89), ("mbpp-train", "train", 371)]
)
def test_the_published_files_splits_are_whole_but_for_what_is_left_out(data, name, split, n):
    tasks = load_tasks(f"{name}:{data('mbpp/mbpp.jsonl')}")
    left_out = [task_id for task_id in LEFT_OUT if int(task_id[5:]) in SPLITS[split]]
    assert len(tasks) == n == len(SPLITS[split]) - len(left_out)


def test_every_eighth_reference_passes(data, errors):
    assert errors(load_tasks(f"mbpp:{data('mbpp/mbpp.jsonl')}")[::8]) == []


def test_the_sanitized_form_is_read_with_its_imports(write, errors):
    record = {
        "source_file": "a.ipynb",
        "task_id": 11,
        "prompt": "Write a function to find the longest side.",
        "code": "import math\ndef longest(a, b):\n    return math.hypot(a, b)",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(longest(3, 4), 5)", "assert math.isclose(longest(6, 8), 10)"],
    }
    path = write(json.dumps([record], indent=2))
    [task] = tasks = load_tasks(f"mbpp:{path}")
    assert (task.statement, task.public.setup) == (record["prompt"], "import math")
    assert errors(tasks) == []


@pytest.mark.parametrize("changes", [{"test_list": [5]}, {"test_setup_code": 5}, {"test_list": []}, {"code": "def"}])
def test_a_record_with_values_of_another_kind_is_a_problem_with_its_place(write, changes):
    path = write(json.dumps({**RECORD, **changes}))
    with pytest.raises(TaskError) as caught:
        load_tasks(f"mbpp:{path}")
    assert caught.value.problems[0].startswith(f"{path}:1: ")
