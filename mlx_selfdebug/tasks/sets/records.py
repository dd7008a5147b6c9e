"""The records of a published set's file: JSON lines (also .gz), a JSON array, or Parquet. All its problems are raised at once.

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
"""Of a file, unpacked."""
MAX_PROBLEMS = 100
PARQUET_HINT = "pip install 'mlx-selfdebug[sets]'"


@dataclass(frozen=True)
class Record:
    """``where`` names the file and the line (or the place in the array), for messages."""

    where: str
    fields: Mapping[str, Any]


def read_records(path: Path, types: Mapping[str, type | tuple[type, ...]]) -> list[Record]:
    """The objects of a file, each of which has the fields ``types``.

    Raises TaskError for a file that cannot be read, is not of a form named above, is larger than ``MAX_BYTES``, holds
    nothing, or holds an object that lacks a field; all such objects are named.
    """
    found = list(_objects(path))
    problems = [text for where, value in found for text in _problems(where, value, types)]
    if not found:
        problems = [f"{path}: the file holds no record"]
    raise_problems(path, problems)
    return [Record(where, value) for where, value in found]


def raise_problems(path: Path, problems: list[str]) -> None:
    """Raises TaskError if there are any."""
    if problems:
        shown = problems[:MAX_PROBLEMS]
        if len(problems) > MAX_PROBLEMS:
            shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
        raise TaskError(f"{path}: {len(problems)} problem{'' if len(problems) == 1 else 's'}", problems=shown)


def build_tasks(path: Path, records: list[Record], build: Callable[[Mapping[str, Any]], Task]) -> list[Task]:
    """``build`` of each record. Raises TaskError with all those that it cannot build, and those whose id is taken."""
    tasks: dict[str, Task] = {}
    problems = []
    for record in records:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes and the like, in somebody's code
                task = build(record.fields)
        except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            problems.append(f"{record.where}: {what.splitlines()[0]}")
            continue
        if tasks.setdefault(task.id, task) is not task:
            problems.append(f"{record.where}: the id {task.id} is taken already")
    raise_problems(path, problems)
    return list(tasks.values())


def _problems(where: str, value: Any, types: Mapping[str, type | tuple[type, ...]]) -> Iterator[str]:
    if isinstance(value, ValueError):
        yield f"{where}: {value}"
    elif not isinstance(value, dict):
        yield f"{where}: not an object, {reprlib.repr(value)}"
    else:
        for name, kind in types.items():
            if name not in value:
                yield f"{where}: {name}: missing, of {', '.join(types)}"
            elif not isinstance(value[name], kind):
                wanted = kind if isinstance(kind, tuple) else (kind,)
                yield f"{where}: {name}: {reprlib.repr(value[name])}, not {' or '.join(_WORDS[one] for one in wanted)}"


_WORDS: Mapping[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """What stands there, or the ValueError of a line that is no JSON, each with its place."""
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
        return ValueError(f"not JSON we read ({error})")


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise TaskError(f"{path}: larger than {MAX_BYTES >> 20} MiB, which no set that we know is")
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
        raise TaskError(f"{path}: no Parquet file: {error}") from error
    yield from ((f"{path}[{index}]", row) for index, row in enumerate(rows))
