"""HumanEval as it is loaded; HumanEvalPack where a folder with it is named by MLX_SELFDEBUG_TEST_DATA."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import Task, TaskSet, load_tasks
from mlx_selfdebug.tasks.sets.humaneval import ALIASES, WRONG_EXAMPLES

TASKS = load_tasks("humaneval")
DATA = os.environ.get("MLX_SELFDEBUG_TEST_DATA", "")
PACK = Path(DATA, "humanevalpack", "humanevalpack-python.jsonl")
needs_pack = pytest.mark.skipif(
    not (DATA and PACK.is_file()),
    reason="MLX_SELFDEBUG_TEST_DATA names no folder with humanevalpack/humanevalpack-python.jsonl",
)


@pytest.fixture(scope="module")
def pack() -> TaskSet:
    return load_tasks(f"humanevalpack:{PACK}")


def errors(tasks: Iterable[Task], runner: Any) -> list[str]:
    return [
        f"{problem.task_id}: {problem.what}" for problem in check_tasks(tasks, runner) if problem.severity == "error"
    ]


def squashed(text: str) -> str:
    return "".join(text.split())


def test_there_are_all_164_tasks():
    assert [task.id for task in TASKS] == [f"HumanEval/{number}" for number in range(164)]


def test_every_reference_passes_its_checks_and_doing_nothing_does_not(runner):
    assert errors(TASKS, runner) == []


def test_154_tasks_have_public_checks():
    assert sum(bool(task.public) for task in TASKS) == 154


def test_a_public_check_is_a_call_with_literals_and_a_literal_value():
    for task in TASKS:
        for node in ast.walk(ast.parse(task.public.source)):
            if isinstance(node, ast.Assert):
                assert isinstance(node.test, ast.Compare)
                assert isinstance(node.test.left, ast.Call)
                for literal in [*node.test.left.args, *node.test.comparators]:
                    ast.literal_eval(literal)


def test_every_example_said_to_be_wrong_is_wrong():
    for task_id, examples in WRONG_EXAMPLES.items():
        names: dict[str, Any] = {}
        exec(TASKS.by_id[task_id].reference, names)
        for example, reason in examples.items():
            assert reason
            with pytest.raises(AssertionError):
                exec(example, names)


def test_every_alias_occurs_in_its_docstring():
    assert all(f"{alias}(" in TASKS.by_id[task_id].statement for task_id, alias in ALIASES.items())


def test_the_statement_is_the_docstring_as_it_stands_in_the_prompt():
    assert all(task.statement and squashed(task.statement) in squashed(task.reference) for task in TASKS)


def test_the_starter_code_stops_before_the_docstring():
    assert not any('"""' in task.starter_code.rpartition("def ")[2] for task in TASKS)
    assert all(f"def {task.entry_point}(" in task.starter_code for task in TASKS)


def test_the_reference_continues_the_starter_code():
    assert all(task.starter_code in task.reference for task in TASKS)


def test_the_setup_has_the_helpers_of_the_prompt_but_not_the_entry_point():
    assert [task.id for task in TASKS if "def " in task.hidden.setup] == [f"HumanEval/{n}" for n in (10, 32, 38, 50)]
    assert not any(f"def {task.entry_point}(" in task.hidden.setup for task in TASKS)


@needs_pack
def test_the_pack_has_158_tasks_with_example_tests(pack):
    assert (len(pack), sum(bool(task.public) for task in pack)) == (164, 158)


@needs_pack
def test_every_reference_of_the_pack_passes_its_checks(pack, runner):
    assert errors(pack, runner) == []


@needs_pack
def test_no_checks_of_the_pack_run_themselves(pack):
    for task in pack:
        for source in (task.public.source, task.hidden.source):
            assert not any(isinstance(node, ast.Expr) for node in ast.parse(source).body)


RECORD = {
    "task_id": "Python/7",
    "prompt": 'def f(x):\n    """Double."""\n',
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(f):\n    assert f(2) == 4\n\ncheck(f)",
    "example_test": "def check(f):\n    assert f(1) == 2\ncheck(f)\n",
    "entry_point": "f",
    "buggy_solution": "    return x\n",
}


def test_a_pack_is_read_from_a_file(write):
    [task] = load_tasks(f"humanevalpack:{write(json.dumps(RECORD))}")
    assert (task.id, task.statement, task.source) == ("HumanEvalPack/7", "Double.", "humanevalpack")
    assert (task.public.source, task.hidden.source) == (
        "def check(f):\n    assert f(1) == 2\n",
        "def check(f):\n    assert f(2) == 4\n",
    )


def test_every_line_that_is_not_the_packs_is_reported(write):
    path = write(json.dumps({**RECORD, "test": 5}), "{", "[]")
    with pytest.raises(TaskError) as caught:
        load_tasks(f"humanevalpack:{path}")
    assert [problem.removeprefix(str(path)).split(": ")[:2] for problem in caught.value.problems] == [
        [":1", "test"],
        [":2", "not JSON at column 2 (Expecting property name enclosed in double quotes)"],
        [":3", "not an object but []"],
    ]


def test_every_record_that_is_no_program_is_reported(write):
    wrong = [{**RECORD, "entry_point": "g"}, {**RECORD, "test": "def check("}, RECORD, RECORD]
    path = write(*map(json.dumps, wrong))
    with pytest.raises(TaskError) as caught:
        load_tasks(f"humanevalpack:{path}")
    assert [problem.removeprefix(str(path)) for problem in caught.value.problems] == [
        ":1: ValueError: prompt and canonical_solution define no function g",
        ":2: SyntaxError: '(' was never closed (<unknown>, line 1)",
        ":4: the id HumanEvalPack/7 is already used",
    ]


def test_a_task_of_fixing_shows_the_wrong_code_and_declares_it_wrong(write):
    [task] = load_tasks(f"humanevalfix:{write(json.dumps(RECORD))}")
    assert (task.id, task.source) == ("HumanEvalFix/7", "humanevalfix")
    assert "def f(x):\n    return x\n```" in task.statement
    assert task.wrong == (RECORD["prompt"] + "    return x\n",)


def test_a_pack_that_is_not_there_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(TaskError, match=r"none\.jsonl: no such file"):
        load_tasks(f"humanevalpack:{tmp_path / 'none.jsonl'}")


OWN = {
    "task_id": "mine/0",
    "prompt": 'import math\n\ndef area(r: float) -> float:\n    """Return the area of a circle.\n    >>> area(0)\n    0.0\n    """\n',
    "canonical_solution": "    return math.pi * r * r\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-4\n\ncheck(area)\n",
    "entry_point": "area",
}


def own(write, **changes: object) -> TaskSet:
    return load_tasks(f"humaneval:{write(json.dumps({**OWN, **changes}))}")


def test_tasks_of_ones_own_in_humanevals_form_are_read_from_a_file(write, runner):
    [task] = tasks = own(write)
    assert (task.id, task.statement.splitlines()[0]) == ("mine/0", "Return the area of a circle.")
    assert task.starter_code == "import math\n\ndef area(r: float) -> float:"
    assert task.public.source.count("assert") == 1
    assert errors(tasks, runner) == []


@pytest.mark.parametrize(
    ("prompt", "starter", "text"),
    [
        ("def area(r):\n    'Return the area.'\n", "def area(r):", "Return the area."),
        ("def area(r):\n    '''Return\n    the area.'''\n", "def area(r):", "Return\nthe area."),
        ('def area(r):\n    r"""Return \\pi r."""\n', "def area(r):", "Return \\pi r."),
        ('def area(r): """Return the area."""\n', "def area(r):", "Return the area."),
        ('@cache\ndef area(r):\n    """Return the area."""\n', "@cache\ndef area(r):", "Return the area."),
    ],
)
def test_a_docstring_may_be_written_in_every_way_that_python_has(write, prompt, starter, text):
    solution = "" if prompt.startswith("def area(r): ") else "    return 3\n"
    [task] = own(write, prompt=prompt, canonical_solution=solution)
    assert (task.starter_code, task.statement) == (starter, text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "def area(r):\n", "canonical_solution": "    return 3\n"}, "the prompt has no docstring in area"),
        (
            {"prompt": "def area(r):\n", "canonical_solution": '    """Wait."""\n    return 3\n'},
            "the prompt has no docstring",
        ),
        ({"test": "assert area(1) == 3\n"}, "defines no function check(candidate)"),
        ({"entry_point": "other"}, "define no function other"),
        ({"task_id": 5}, "task_id: 5 is not a string"),
        ({"test": None}, "test: None is not a string"),
    ],
)
def test_a_record_of_ones_own_that_cannot_be_a_task_is_said_with_its_line(write, changes, said):
    with pytest.raises(TaskError) as caught:
        own(write, **changes)
    assert said in caught.value.problems[0]
