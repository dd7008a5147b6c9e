"""GSM8K's files and reasoning-gym's generators."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.errors import TaskError, UnknownNameError
from mlx_selfdebug.tasks import load_tasks

RECORD = {"question": "Two and two?", "answer": "2 + 2 = <<2+2=4>>4\n#### 1,004"}


def test_the_key_stands_after_the_marks(write, errors):
    [task] = tasks = load_tasks(f"gsm8k:{write(json.dumps(RECORD))}")
    assert task.statement == "Two and two?"
    assert task.reference == "2 + 2 = 4\n\\boxed{1004}\n"
    assert errors(tasks) == []


@pytest.mark.parametrize("answer", ["4", "#### ", "#### four", "#### 4 eggs"])
def test_an_answer_without_a_number_after_the_marks_is_an_error(write, answer):
    with pytest.raises(TaskError, match="1 problem"):
        load_tasks(f"gsm8k:{write(json.dumps({**RECORD, 'answer': answer}))}")


def test_a_generator_gives_the_same_tasks_for_the_same_seed():
    first, again, other = (load_tasks(f"reasoning-gym:chain_sum,size=3,seed={seed}") for seed in (1, 1, 2))
    assert list(first) == list(again)
    assert [task.statement for task in first] != [task.statement for task in other]
    assert not {task.id for task in first} & {task.id for task in other}


@pytest.mark.parametrize("generator", ["base_conversion,size=3", "polynomial_equations,size=8,max_degree=2"])
def test_a_generators_own_answers_pass(errors, generator):
    assert errors(load_tasks(f"reasoning-gym:{generator}")) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reasoning-gym:chain_summ", "chain_sum"),
        ("reasoning-gym:chain_sum,size=0", "size is 0"),
        ("reasoning-gym:chain_sum,size=x", "'size=x' is not a setting"),
        ("reasoning-gym:chain_sum,sise=3", "sise"),
        ("reasoning-gym", "needs the name of a generator"),
    ],
)
def test_a_wrong_name_or_setting_is_said(name, said):
    with pytest.raises((TaskError, UnknownNameError)) as caught:
        load_tasks(name)
    assert said in f"{caught.value} {caught.value.hint}"


def test_gsm8ks_test_problems_are_1319(data, errors):
    tasks = load_tasks(f"gsm8k:{data('gsm8k/test.jsonl')}")
    assert len(tasks) == 1319
    assert errors(tasks[::60]) == []
