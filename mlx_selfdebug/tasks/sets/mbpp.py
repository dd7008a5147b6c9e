"""Read MBPP (Austin et al., "Program Synthesis with Large Language Models", 2021): 974 tasks with three asserts each.

The first assert is the public check, since the usual prompt shows it too, and with it how the function is called. The others are
hidden. Two forms of records are read: that of the full set, and that of its sanitized part, which has the statement in
``prompt`` and the imports of the asserts in ``test_imports``.

    >>> SPLITS["test"][0], SPLITS["test"][-1]
    (11, 510)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.tasks.sets.records import Types, build_tasks, read_records
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

SPLITS: Mapping[str, range] = {
    "train": range(601, 975),
    "validation": range(511, 601),
    "test": range(11, 511),
    "prompt": range(1, 11),
}
"""The ids of the tasks of each split. Those of "prompt" are the paper's examples."""
LEFT_OUT: Mapping[str, str] = {
    "MBPP/123": "its reference takes about as long as a test run may",
    "MBPP/367": "its asserts build an object of a class that only its reference defines",
    "MBPP/596": "its asserts use a module that only its reference imports",
    "MBPP/601": "the same reason as 367",
    "MBPP/927": "the same reason as 367",
    "MBPP/954": "a function that returns None passes its asserts",
}
"""Tasks that are left out, with the reasons: no answer would pass them, or any answer would."""

FULL: Types = {"task_id": int, "text": str, "code": str, "test_list": list}
"""The fields of a record of the full set."""
SANITIZED: Types = {"task_id": int, "prompt": str, "code": str, "test_list": list, "test_imports": list}


def mbpp_tasks(path: Path, split: str) -> list[Task]:
    """Return the tasks of a split, which is a key of ``SPLITS``, from a file of the set.

    Raises TaskError with all problems of the file, or if it has no task of the split.
    """
    ids = SPLITS[split]
    records = [record for record in read_records(path, FULL, SANITIZED) if record.fields["task_id"] in ids]
    if not records:
        raise TaskError(
            f"{path}: the file has no task of the split {split}, whose ids are {ids[0]} to {ids[-1]}",
            hint="give tasks of your own an id (task_id) in that range",
        )
    return [task for task in build_tasks(path, records, _task) if task.id not in LEFT_OUT]


def _task(record: Mapping[str, Any]) -> Task:
    """Return the task of a record, in either form. Raises ValueError if its asserts call no function of its code."""
    reference = plain_lines(record["code"]).rstrip() + "\n"
    asserts = [plain_lines(text) for text in record["test_list"]]
    setup_lines = [*(record.get("test_imports") or []), record.get("test_setup_code") or ""]
    setup = plain_lines("\n".join(setup_lines)).strip("\n")
    return Task(
        id=f"MBPP/{record['task_id']}",
        domain="python",
        statement=(record["text"] if "text" in record else record["prompt"]).strip(),
        entry_point=entry_point(reference, asserts),
        public=Checks.from_asserts(asserts[:1], setup),
        hidden=Checks.from_asserts([*asserts[1:], *(record.get("challenge_test_list") or [])], setup),
        reference=reference,
        source="mbpp",
    )


def plain_lines(text: str) -> str:
    """Return ``text`` with a single newline as the end of each line."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def entry_point(reference: str, asserts: list[str]) -> str:
    """Return the name of the function or class of the reference that the asserts call.

    Raises ValueError if they call none, and SyntaxError if the reference or an assert does not parse.
    """
    defined = [node.name for node in parse_quietly(reference).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for text in asserts:
        for node in ast.walk(parse_quietly(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
                return node.func.id
    raise ValueError(f"no assert calls a function of the code, which defines {', '.join(defined) or 'none'}")
