"""Reads the records of a published set's file, which is JSON lines (also .gz), a JSON array, or Parquet.

All problems of a file are raised at once.

>>> records = read_records(Path("mbpp.jsonl"), {"task_id": int, "text": str})           # doctest: +SKIP
>>> records[0].where, records[0].fields["task_id"]
('mbpp.jsonl:1', 1)
"""

from __future__ import annotations

import gzip
import json
import reprlib
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.values.task import Task

MAX_BYTES = 256 << 20
"""The largest size of a file after decompression."""
MAX_PROBLEMS = 100
PARQUET_HINT = "pip install 'mlx-selfdebug[sets]'"


@dataclass(frozen=True)
class Record:
    """One record of a file."""

    where: str
    """The file and the line, or the index in the array, for messages."""
    fields: Mapping[str, Any]


def read_records(path: Path, types: Mapping[str, type | tuple[type, ...]]) -> list[Record]:
    """Read the objects of a file. Each must have the fields of ``types``, with values of the types given there.

    Raises TaskError if the file cannot be read, has none of the formats named above, is larger than ``MAX_BYTES`` or holds nothing.
    It is also raised if objects lack a field or have one of another type, and then names all of them.
    """
    objects = list(_objects(path))
    problems = [text for where, value in objects for text in _problems(where, value, types)]
    if not objects:
        problems = [f"{path}: the file holds no record"]
    raise_problems(path, problems)
    return [Record(where, value) for where, value in objects]


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
        except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            problems.append(f"{record.where}: {what.splitlines()[0]}")
            continue
        if tasks.setdefault(task.id, task) is not task:
            problems.append(f"{record.where}: the id {task.id} is already used")
    raise_problems(path, problems)
    return list(tasks.values())


def _problems(where: str, value: Any, types: Mapping[str, type | tuple[type, ...]]) -> Iterator[str]:
    if isinstance(value, ValueError):
        yield f"{where}: {value}"
    elif not isinstance(value, dict):
        yield f"{where}: not an object but {reprlib.repr(value)}"
    else:
        for name, kind in types.items():
            if name not in value:
                yield f"{where}: {name}: missing, the required fields are {', '.join(types)}"
            elif not isinstance(value[name], kind):
                allowed = " or ".join(_WORDS[choice] for choice in (kind if isinstance(kind, tuple) else (kind,)))
                yield f"{where}: {name}: {reprlib.repr(value[name])} is not {allowed}"


_WORDS: Mapping[type, str] = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each record. The value of a line that is not JSON is a ValueError."""
    if path.suffix == ".parquet":
        yield from _of_parquet(path)
        return
    text = _text(path)
    if text.lstrip()[:1] == "[":
        values = _parsed(text)
        if isinstance(values, ValueError):
            raise TaskError(f"{path}: {values}")
        yield from ((f"{path}[{index}]", value) for index, value in enumerate(values))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return ValueError(f"not JSON at column {error.colno} ({error.msg})")
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON that can be read ({error})")


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise TaskError(f"{path}: the file is larger than {MAX_BYTES >> 20} MiB, which no known set is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TaskError(f"{path}:{line}: not UTF-8: {data[error.start : error.start + 4]!r}") from None


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
