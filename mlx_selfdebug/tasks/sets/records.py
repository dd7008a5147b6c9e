"""Read the records of a published set and make tasks of them. All problems of a file are reported at once.

A file is JSON lines, a JSON array (both also with gzip; files.py), or Parquet.

>>> records = read_records(Path("mbpp.jsonl"), {"task_id": int, "text": str})           # doctest: +SKIP
>>> records[0].where, records[0].fields["task_id"]
('mbpp.jsonl:1', 1)
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.files import is_parquet, json_texts, parsed
from mlx_selfdebug.tasks.forms import refuse_other_form
from mlx_selfdebug.values.task import Task

Types = Mapping[str, type | tuple[type, ...]]
"""A form of records: the fields that a record must have, with the types of their values."""
_TYPE_NAMES: Mapping[type, str] = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}
_BUILD_ERRORS = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError)
"""The errors that making a task may raise if the values of its record are not of the kind that the set has."""
MAX_PROBLEMS = 100
"""The largest number of problems that an error lists."""
PARQUET_HINT = "pip install 'mlx-selfdebug[sets]'"


@dataclass(frozen=True)
class Record:
    """One record of a file."""

    where: str
    """Where the record stands, for messages: ``file:line``, or ``file[index]`` in an array or in Parquet."""
    fields: Mapping[str, Any]


def read_records(path: Path, *forms: Types) -> list[Record]:
    """Read the records of a file, each of which must have one of ``forms``.

    Raises TaskError if the file cannot be read or is empty. Raises TaskError with all problems if records lack fields, or have
    values of other types. If several forms are allowed, a record is compared with the one that it fits best. If the records have
    the form of another set, the error names that set.
    """
    objects = list(_objects(path))
    problems = [text for place, value in objects for text in _nearest_problems(place, value, forms)]
    if not objects:
        problems = [f"{path}: the file holds no record"]
    if problems:
        refuse_other_form(path, objects[0][1] if objects else None, {name for form in forms for name in form})
    raise_problems(path, problems)
    return [Record(place, value) for place, value in objects]


def raise_problems(path: Path, problems: list[str]) -> None:
    """Raise TaskError about the file or folder ``path`` with ``problems``, if there are any."""
    if problems:
        shown = problems[:MAX_PROBLEMS]
        if len(problems) > MAX_PROBLEMS:
            shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
        raise TaskError(f"{path}: {len(problems)} problem{'' if len(problems) == 1 else 's'}", problems=shown)


def build_tasks(path: Path, records: list[Record], build: Callable[[Mapping[str, Any]], Task]) -> list[Task]:
    """Return the task that ``build`` makes of the fields of each record.

    Raises TaskError with all problems: records that cannot be made into tasks, and tasks with the id of an earlier one.
    """
    tasks: dict[str, Task] = {}
    problems = []
    for record in records:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the code of a set may hold invalid escapes and the like
                task = build(record.fields)
        except _BUILD_ERRORS as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            problems.append(f"{record.where}: {what.splitlines()[0]}")
            continue
        if tasks.setdefault(task.id, task) is not task:
            problems.append(f"{record.where}: the id {task.id} is already used")
    raise_problems(path, problems)
    return list(tasks.values())


def _nearest_problems(place: str, value: object, forms: Sequence[Types]) -> list[str]:
    """Return the problems of a value, compared with the form that it fits best."""
    return min((list(_problems(place, value, form)) for form in forms), key=len)


def _problems(place: str, value: object, types: Types) -> Iterator[str]:
    """Yield what keeps a value from being a record of the form ``types``."""
    if isinstance(value, ValueError):  # the text was not JSON: see ``files.parsed``
        yield f"{place}: {value}"
    elif not isinstance(value, dict):
        yield f"{place}: not an object but {reprlib.repr(value)}"
    else:
        for name, kind in types.items():
            if name not in value:
                yield f"{place}: {name}: missing, the required fields are {', '.join(types)}"
            elif not isinstance(value[name], kind):
                kinds = kind if isinstance(kind, tuple) else (kind,)
                allowed = " or ".join(_TYPE_NAMES[choice] for choice in kinds)
                yield f"{place}: {name}: {reprlib.repr(value[name])} is not {allowed}"


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each record of a file. For a text that is not JSON, the value is a ValueError."""
    if path.suffix == ".parquet" or is_parquet(path):
        yield from _parquet_objects(path)
    else:
        yield from ((place, parsed(text)) for place, text in json_texts(path))


def _parquet_objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each row of a Parquet file. Raises TaskError if it cannot be read."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise TaskError(f"{path}: reading Parquet needs pyarrow", hint=PARQUET_HINT) from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: not a Parquet file: {error}") from error
    yield from ((f"{path}[{index}]", row) for index, row in enumerate(rows))
