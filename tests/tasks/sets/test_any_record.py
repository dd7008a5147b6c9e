"""No record whatever of a published set does anything but become a task or an error that names its place."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import load_tasks

CODE = st.sampled_from(
    [
        "def f(x):\n    return x\n",
        'def f(x):\n    """Say x.\n    >>> f(1)\n    1\n    """\n',
        "    return x\n",
        "def check(candidate):\n    assert candidate(1) == 1\n",
        "def check(candidate):\n    inputs = [[1], [2]]\n",
        "inputs = [[" * 99,
        "assert f(1) == 1",
        "class f:\n    pass\n",
        '"""\nSay x.\nassert f(1) == 1\n"""\n',
        "\x00",
        "\ud800",
        "#### 7",
        "f",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | CODE
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
FIELDS = {
    "humaneval": ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
    "humanevalfix": ("task_id", "prompt", "canonical_solution", "test", "entry_point", "example_test", "buggy_solution"),
    "humanevalplus": ("task_id", "prompt", "canonical_solution", "test", "entry_point", "base_input", "plus_input", "atol"),
    "mbpp": ("task_id", "text", "prompt", "code", "test_list", "test_imports", "test_setup_code", "challenge_test_list"),
    "mbppplus": ("task_id", "prompt", "code", "test_list", "test_imports", "test", "assertion", "entry_point", "base_input"),
    "gsm8k": ("question", "answer"),
    "geoquery": ("sentences", "sql"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_no_record_of_a_set_does_anything_but_load_or_raise_a_task_error(tmp_path_factory, name: str):
    path: Path = tmp_path_factory.mktemp("any") / "any.jsonl"

    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[name], VALUES)))
    def check(record: dict[str, Any]) -> None:
        path.write_text(json.dumps({"task_id": 11} | record))
        with suppress(TaskError):
            load_tasks(f"{name}:{path}")

    check()


@pytest.mark.parametrize("name", FIELDS)
def test_records_with_the_right_types_load_or_raise_a_task_error_too(tmp_path_factory, name: str):
    path: Path = tmp_path_factory.mktemp("any") / "any.jsonl"
    lists = ("test_list", "test_imports", "challenge_test_list", "base_input", "plus_input", "sentences", "sql")

    @given(
        st.fixed_dictionaries(
            {field: st.lists(VALUES, max_size=3) if field in lists else CODE for field in FIELDS[name]}
        )
    )
    def check(record: dict[str, Any]) -> None:
        path.write_text(json.dumps(record | ({"task_id": 11} if name.startswith("mbpp") else {})))
        with suppress(TaskError):
            load_tasks(f"{name}:{path}")

    check()
