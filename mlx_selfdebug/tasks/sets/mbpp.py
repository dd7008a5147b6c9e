"""MBPP (Austin et al., "Program Synthesis with Large Language Models", 2021): 974 tasks with three asserts each.

The first assert is the public check, as in the usual prompt, where it also shows how the function is called. The others are hidden.
The ids fix the splits: 601-974 to train on, 511-600 to validate, 11-510 to test, and 1-10 are the paper's examples.

    >>> SPLITS["test"][0], SPLITS["test"][-1]
    (11, 510)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.sets.records import build_tasks, read_records
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.parsing import parse_quietly
from mlx_selfdebug.values.task import Task

SPLITS: Mapping[str, range] = {
    "train": range(601, 975),
    "validation": range(511, 601),
    "test": range(11, 511),
    "prompt": range(1, 11),
}
LEFT_OUT: Mapping[str, str] = {
    "MBPP/123": "its reference takes about as long as a test run may",
    "MBPP/367": "its asserts build an object of a class that only its reference defines",
    "MBPP/596": "its asserts use a module that only its reference imports",
    "MBPP/601": "the same reason as 367",
    "MBPP/927": "the same reason as 367",
    "MBPP/954": "a function that returns None passes its asserts",
}
"""Tasks that no answer, or any answer, would pass."""

FIELDS: Mapping[str, type | tuple[type, ...]] = {"task_id": int, "text": str, "code": str, "test_list": list}


def mbpp_tasks(path: Path, split: str) -> list[Task]:
    """Return the tasks of a split from the set's file. Raises TaskError with everything that is wrong with the file."""
    ids = SPLITS[split]
    inside = [record for record in read_records(path, FIELDS) if record.fields["task_id"] in ids]
    if not inside:
        raise TaskError(f"{path}: the file has no task of the split {split}, whose ids are {ids[0]} to {ids[-1]}")
    return [task for task in build_tasks(path, inside, _task) if task.id not in LEFT_OUT]


def _task(record: Mapping[str, Any]) -> Task:
    reference = record["code"].replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"
    asserts = [text.replace("\r\n", "\n") for text in record["test_list"]]
    setup = (record.get("test_setup_code") or "").replace("\r\n", "\n")
    return Task(
        id=f"MBPP/{record['task_id']}",
        domain="python",
        statement=record["text"].strip(),
        entry_point=entry_point(reference, asserts),
        public=Checks.from_asserts(asserts[:1], setup),
        hidden=Checks.from_asserts([*asserts[1:], *(record.get("challenge_test_list") or [])], setup),
        reference=reference,
        source="mbpp",
    )


def entry_point(reference: str, asserts: list[str]) -> str:
    """Return the name of the function of the reference that the asserts call.

    Raises ValueError if there is none, and SyntaxError if the reference or an assert does not parse.
    """
    defined = [node.name for node in parse_quietly(reference).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for text in asserts:
        for node in ast.walk(parse_quietly(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
                return node.func.id
    raise ValueError(f"no assert calls a function of the code, which defines {', '.join(defined) or 'none'}")
