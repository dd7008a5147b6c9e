"""A name, or a path, to a task set. New sets are one entry of ``_SETS``.

>>> from mlx_selfdebug.tasks.load import available_sets, load_tasks
>>> sorted(available_sets())
['humaneval', 'humanevalpack', 'starter']
>>> load_tasks("starter")[0].id.partition("/")[0]
'starter'
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import TaskError, UnknownNameError
from mlx_selfdebug.tasks.jsonl import read_tasks
from mlx_selfdebug.tasks.task import Task
from mlx_selfdebug.tasks.task_set import TaskSet

STARTER_FOLDER = Path(__file__).parent / "starter"


def load_tasks(name: str | os.PathLike[str]) -> TaskSet:
    """The tasks of a set known by name, of a file ``path.jsonl`` in our format, or of ``humanevalpack:PATH``.

    Raises UnknownNameError for a name nobody knows, TaskError for a file that is missing or has problems.
    """
    text = os.fspath(name)
    kind, _, path = text.partition(":")
    if kind in _SETS and (path or text == kind):
        return TaskSet(kind, _SETS[kind].load(path))
    if text.endswith(".jsonl") or os.sep in text:
        return TaskSet(Path(text).stem, read_tasks(Path(text)))
    raise UnknownNameError("task set", text, _SETS, hint="a file of your own tasks is given by its path: tasks.jsonl")


def available_sets() -> dict[str, str]:
    """Every set known by name, with what it is in one line."""
    return {name: entry.description for name, entry in _SETS.items()}


@dataclass(frozen=True)
class _Set:
    """``load`` gets what stands after the colon in ``name:path``, or an empty string."""

    description: str
    load: Callable[[str], list[Task]]


def _starter(path: str) -> list[Task]:
    _no_path("starter", path)
    return [task for file in sorted(STARTER_FOLDER.glob("*.jsonl")) for task in read_tasks(file, source="starter")]


def _humaneval(path: str) -> list[Task]:
    from mlx_selfdebug.tasks.humaneval import humaneval_tasks

    _no_path("humaneval", path)
    return humaneval_tasks()


def _humanevalpack(path: str) -> list[Task]:
    from mlx_selfdebug.tasks.humaneval import humanevalpack_tasks

    if not path:
        raise TaskError(
            "humanevalpack is read from a file, and none was given",
            hint="write humanevalpack:PATH, where PATH is the set's Python split as .jsonl (HumanEvalPack is part of OctoPack)",
        )
    return humanevalpack_tasks(Path(path))


def _no_path(name: str, path: str) -> None:
    if path:
        raise TaskError(f"{name} takes no path, got {path!r}", hint=f"write {name}, or the path of a .jsonl file alone")


_SETS = {
    "starter": _Set("40 short Python functions, most with an edge case to get wrong; comes with the package", _starter),
    "humaneval": _Set("164 Python functions (OpenAI); public checks are the docstrings' examples", _humaneval),
    "humanevalpack": _Set("HumanEval with separate example tests, from a file: humanevalpack:PATH", _humanevalpack),
}
