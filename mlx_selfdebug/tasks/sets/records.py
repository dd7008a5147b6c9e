"""Read the records of a published set's file, which is JSON lines, a JSON array (both also with gzip; files.py), or Parquet.

All problems of a file are raised at once.

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
"""The fields that a record must have, with the types of their values."""
_BAD_FIELDS = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError)
"""What is raised when tasks are made of values that are not as a set's records have them."""
MAX_PROBLEMS = 100
PARQUET_HINT = "pip install 'mlx-selfdebug[sets]'"


@dataclass(frozen=True)
class Record:
    """One record of a file."""

    where: str
    """The file and the line, or the index in the array, for messages."""
    fields: Mapping[str, Any]


def read_records(path: Path, *forms: Types) -> list[Record]:
    """Read the objects of a file. Each must have the fields of one of ``forms``, with values of the types given there.

    Raises TaskError if the file cannot be read, has none of the formats named above or holds nothing. It is also raised if objects
    lack a field or have one of another type, and then names all of them; what a record lacks is said for the form that it is
    nearest to. If the records have the form of another set, the error says which.
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
    """Raise TaskError with ``problems`` if there are any."""
    if problems:
        shown = problems[:MAX_PROBLEMS]
        if len(problems) > MAX_PROBLEMS:
            shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
        raise TaskError(f"{path}: {len(problems)} problem{'' if len(problems) == 1 else 's'}", problems=shown)


def build_tasks(path: Path, records: list[Record], build: Callable[[Mapping[str, Any]], Task]) -> list[Task]:
    """Return the task that ``build`` makes of each record.

    Raises TaskError with all records that it cannot build, and those whose id an earlier record has.
    """
    tasks: dict[str, Task] = {}
    problems = []
    for record in records:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the code of a set may hold invalid escapes and the like
                task = build(record.fields)
        except _BAD_FIELDS as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            problems.append(f"{record.where}: {what.splitlines()[0]}")
            continue
        if tasks.setdefault(task.id, task) is not task:
            problems.append(f"{record.where}: the id {task.id} is already used")
    raise_problems(path, problems)
    return list(tasks.values())


def _nearest_problems(place: str, value: Any, forms: Sequence[Types]) -> list[str]:
    return min((list(_problems(place, value, form)) for form in forms), key=len)


def _problems(place: str, value: Any, types: Types) -> Iterator[str]:
    if isinstance(value, ValueError):
        yield f"{place}: {value}"
    elif not isinstance(value, dict):
        yield f"{place}: not an object but {reprlib.repr(value)}"
    else:
        for name, kind in types.items():
            if name not in value:
                yield f"{place}: {name}: missing, the required fields are {', '.join(types)}"
            elif not isinstance(value[name], kind):
                allowed = " or ".join(_WORDS[choice] for choice in (kind if isinstance(kind, tuple) else (kind,)))
                yield f"{place}: {name}: {reprlib.repr(value[name])} is not {allowed}"


_WORDS: Mapping[type, str] = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each record. The value of a text that is not JSON is a ValueError."""
    if path.suffix == ".parquet" or is_parquet(path):
        yield from _of_parquet(path)
    else:
        yield from ((place, parsed(text)) for place, text in json_texts(path))


def _of_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise TaskError(f"{path}: reading Parquet needs pyarrow", hint=PARQUET_HINT) from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: not a Parquet file: {error}") from error
    yield from ((f"{path}[{index}]", row) for index, row in enumerate(rows))
