"""EvalPlus's sets: JSON's values made into those that the asserts write, compared as the asserts compare."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import Task, load_tasks
from mlx_selfdebug.tasks.sets.evalplus_inputs import hub_inputs

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
    with pytest.raises(TaskError) as caught:
        loaded(write, prompt=f'"""\nNothing.\n{entry[:0]}"""\n')
    assert "the prompt holds no assert" in caught.value.problems[0]


def test_all_but_nine_tasks_of_the_published_file_are_loaded(data):
    assert len(load_tasks(f"mbppplus:{data('mbpp/MbppPlus-v0.1.0.jsonl')}")) == 390


def test_every_twelfth_reference_passes(data, errors):
    assert errors(load_tasks(f"mbppplus:{data('mbpp/MbppPlus-v0.1.0.jsonl')}")[::12]) == []


TEST = """import numpy as np

def assertion(out, exp, atol):
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

"""
MBPP_ON_HUB = {
    "task_id": 2,
    "code": RECORD["canonical_solution"],
    "prompt": "Write a function to find what both have.",
    "source_file": "a.ipynb",
    "test_imports": [],
    "test_list": ["assert set(shared((3, 4), (4, 5))) == set((4,))"],
    "test": TEST
    + "inputs = [[(3, 4), (4, 5)], [(1, inf), (inf, 3)], [(), ()], [(1,), (1,)]]\n"
    + f"results = [(4,), (inf,), (), ({'9' * 5000},)]\n"
    + "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(shared(*inp), exp, 0)\n",
}
HUMANEVAL_ON_HUB = {
    "task_id": "HumanEval/0",
    "prompt": 'def half(x):\n    """Return half of x.\n    >>> half(3)\n    1.5\n    """\n',
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": TEST
    + "def check(candidate):\n    inputs = [[3], [5], [-7]]\n    results = [1.5, 2.5, -3.5]\n"
    + "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0.01)\n",
}


def test_mbppplus_is_read_as_the_hub_has_it(write, runner):
    [task] = load_tasks(f"mbppplus:{write(json.dumps(MBPP_ON_HUB))}")
    assert (task.id, task.entry_point, task.statement) == ("MBPP+/2", "shared", MBPP_ON_HUB["prompt"])
    assert outcome(task, task.reference, runner) == "passed"
    assert outcome(task, "def shared(a, b):\n    return [x for x in a if x in b]\n", runner) == "passed"
    assert outcome(task, "def shared(a, b):\n    return a\n", runner) == "failed"


def test_what_is_shown_does_not_score_in_the_hubs_form_either(write):
    [task] = load_tasks(f"mbppplus:{write(json.dumps(MBPP_ON_HUB))}")
    assert "((3, 4), (4, 5))" in task.public.source
    assert "(3, 4)" not in task.hidden.setup.split("ARGUMENTS")[1]


def test_humanevalplus_is_read_as_the_hub_has_it_with_its_tolerance(write, runner):
    [task] = load_tasks(f"humanevalplus:{write(json.dumps(HUMANEVAL_ON_HUB))}")
    assert (task.id, task.public.source.count("assert")) == ("HumanEval+/0", 1)
    assert outcome(task, "def half(x):\n    return x / 2 + 0.009\n", runner) == "passed"
    assert outcome(task, "def half(x):\n    return x / 2 + 0.011\n", runner) == "failed"


def test_humaneval_itself_given_as_humanevalplus_is_said_to_lack_inputs(write):
    record = HUMANEVAL_ON_HUB | {"test": "def check(candidate):\n    assert candidate(2) == 1\n"}
    with pytest.raises(TaskError) as caught:
        load_tasks(f"humanevalplus:{write(json.dumps(record))}")
    assert "no line inputs = [...]" in caught.value.problems[0]


@pytest.mark.parametrize("inputs", ["[1, 2]", "[[f(1)]]", "[[1]", "[[x for x in y]]"])
def test_inputs_that_are_no_literal_lists_are_a_problem_of_the_record(write, inputs):
    path = write(json.dumps(MBPP_ON_HUB | {"test": f"inputs = {inputs}\n"}))
    with pytest.raises(TaskError) as caught:
        load_tasks(f"mbppplus:{path}")
    assert caught.value.problems[0].startswith(f"{path}:1: ")


INPUTS = st.lists(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.complex_numbers(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        )
        | st.sets(st.integers()),
        max_size=3,
    ),
    max_size=3,
)  # fmt: skip


@given(INPUTS, st.sampled_from(["", "    "]))
def test_inputs_as_python_prints_them_are_read_back(inputs, indent):
    assert hub_inputs(f"{TEST}{indent}inputs = {inputs}\n{indent}results = []\n") == inputs
