"""EvalPlus's sets: JSON's values made into those that the asserts write, compared as the asserts compare."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.tasks import Task, load_tasks

RECORD = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find what both have.\nassert set(shared((3, 4), (4, 5))) == set((4,))\n"""\n',
    "entry_point": "shared",
    "canonical_solution": "def shared(a, b):\n    assert type(a) is tuple\n    return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4], [4, 5]], [[1, 2], [2, 3]]],
    "plus_input": [[[], []], [[1], [1]]],
    "assertion": "assert set(shared((3, 4), (4, 5))) == set((4,))",
    "atol": 0,
}


def loaded(write, **changes) -> Task:
    [task] = load_tasks(f"mbppplus:{write(json.dumps({**RECORD, **changes}))}")
    return task


def outcome(task: Task, code: str, runner) -> str:
    return runner.run(code, task.hidden, task.entry_point).outcome


def test_inputs_are_tuples_where_the_assert_writes_tuples(write, runner):
    task = loaded(write)
    assert outcome(task, task.reference, runner) == "passed"


def test_the_wrapper_of_the_assert_is_kept(write, runner):
    assert outcome(loaded(write), "def shared(a, b):\n    return [x for x in a if x in b]\n", runner) == "passed"


def test_a_wrong_answer_fails(write, runner):
    assert outcome(loaded(write), "def shared(a, b):\n    return a\n", runner) == "failed"


def test_what_is_shown_does_not_score(write):
    task = loaded(write)
    assert "((3, 4), (4, 5))" in task.public.source
    assert "(3, 4)" not in task.hidden.setup.split("ARGUMENTS")[1]


def test_numbers_with_a_point_are_compared_within_a_tolerance(write, runner):
    task = loaded(
        write,
        entry_point="half",
        prompt='"""\nHalf.\nassert half(3) == 1.5\n"""\n',
        assertion="assert half(3) == 1.5",
        canonical_solution="def half(x):\n    return x / 2\n",
        base_input=[[3]],
        plus_input=[[5], [7]],
    )
    assert outcome(task, "def half(x):\n    return x / 2 + 1e-9\n", runner) == "passed"
    assert outcome(task, "def half(x):\n    return x / 2 + 1e-3\n", runner) == "failed"


@pytest.mark.parametrize("entry", ["", "assert other(1) == 2"])
def test_a_prompt_without_an_assert_is_an_error(write, entry):
    from mlx_selfdebug.errors import TaskError

    with pytest.raises(TaskError) as caught:
        loaded(write, prompt=f'"""\nNothing.\n{entry[:0]}"""\n')
    assert "the prompt holds no assert" in caught.value.problems[0]


def test_all_but_nine_tasks_of_the_published_file_are_loaded(data):
    assert len(load_tasks(f"mbppplus:{data('mbpp/MbppPlus-v0.1.0.jsonl')}")) == 390


def test_every_twelfth_reference_passes(data, errors):
    assert errors(load_tasks(f"mbppplus:{data('mbpp/MbppPlus-v0.1.0.jsonl')}")[::12]) == []
