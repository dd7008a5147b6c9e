"""Files given under the wrong name are refused in one line that says the right one."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.forms import FORMS

HUMANEVAL = {"task_id": "x/0", "prompt": "", "canonical_solution": "", "test": "", "entry_point": "f"}
MBPP = {"task_id": 11, "text": "Add.", "code": "", "test_list": [], "test_setup_code": ""}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (HUMANEVAL, "HumanEval's form; load it as humaneval:{path} or humanevalplus:{path}"),
        (
            HUMANEVAL | {"example_test": "", "buggy_solution": ""},
            "HumanEvalPack's form; load it as humanevalpack:{path}",
        ),
        (
            HUMANEVAL | {"base_input": [], "plus_input": []},
            "EvalPlus's releases' form; load it as humanevalplus:{path}",
        ),
        (MBPP, "MBPP's form; load it as mbpp:{path}, mbpp-train:{path} or mbpp-validation:{path}"),
        (MBPP | {"test": ""}, "MBPP+'s form; load it as mbppplus:{path}"),
        ({"db_id": "a", "question": "?", "query": "SELECT 1"}, "Spider's form; load it as spider:{path}"),
        ({"db_id": "a", "question": "?", "SQL": "SELECT 1"}, "BIRD's form; rename its field SQL to query"),
        ({"question": "?", "answer": "#### 1"}, "GSM8K's form; load it as gsm8k:{path}"),
    ],
)
def test_a_published_form_given_as_own_tasks_is_named(write, record, said):
    path = write(*[json.dumps(record)] * 3)
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    assert said.format(path=path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mbpp", "humaneval", "spider", "gsm8k", "mbppplus"])
def test_own_tasks_given_as_a_published_set_are_named(write, name):
    own = {"id": "a", "statement": "Return 1.", "entry_point": "one", "public": [], "hidden": ["assert one() == 1"]}
    path = write(json.dumps(own))
    with pytest.raises(TaskError, match="our own tasks' form; load it by its path alone") as caught:
        load_tasks(f"{name}:{path}")
    assert caught.value.problems == ()


def test_a_record_of_the_right_form_with_a_wrong_value_is_still_said_by_its_field(write):
    with pytest.raises(TaskError) as caught:
        load_tasks(f"mbpp:{write(json.dumps(MBPP | {'code': 5}))}")
    assert "code: 5 is not a string" in caught.value.problems[0]


def test_no_form_hides_another():
    for position, form in enumerate(FORMS):
        assert not any(earlier.fields <= form.fields for earlier in FORMS[:position])
