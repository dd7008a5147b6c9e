"""Our own task files: one JSON object a line. README.md beside this file is the format's documentation.

``read_tasks`` reports every problem of a file at once; schema.py says what a line may hold. ``dump_tasks`` writes what
``read_tasks`` reads: only a task's ``source`` is not in the file, it is where the tasks were read from.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from mlx_selfdebug.tasks import Checks, Task
    >>> task = Task("mine/one", "python", "Return 1.", "one", public=Checks.from_asserts(["assert one() == 1"]), source="mine")
    >>> with TemporaryDirectory() as folder:
    ...     dump_tasks([task], Path(folder, "mine.jsonl"))
    ...     read_tasks(Path(folder, "mine.jsonl")) == [task]
    True
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.schema import LineError, Problem, build, problems_of
from mlx_selfdebug.values.checks import Checks, parse_quietly
from mlx_selfdebug.values.task import Task

MAX_LINE_BYTES = 1_000_000
MAX_PROBLEMS = 100
FORMAT_HINT = "the format is described in mlx_selfdebug/tasks/README.md"


def read_tasks(path: Path, *, source: str = "") -> list[Task]:
    """The tasks of a file; ``source`` is what they say they come from (default: the file's name without its ending).

    Raises TaskError with all problems, each as ``file:line: field: what, value, what is allowed``.
    """
    tasks, problems = _read(path, _lines(path), source or path.stem)
    if not tasks and not problems:
        problems = [f"{path}:1: the file is empty, one JSON object a line is needed"]
    if problems:
        raise _error(path, problems)
    return tasks


def dump_tasks(tasks: Iterable[Task], path: str | Path) -> None:
    """Write a file that ``read_tasks`` reads. Raises TaskError, before anything is written, if a task does not fit the format."""
    file = Path(path)
    lines = [json.dumps(_to_json(task), ensure_ascii=False) for task in tasks]
    _, problems = _read(file, enumerate((line.encode("utf-8", "surrogatepass") for line in lines), 1), "")
    if problems:
        raise _error(file, problems)
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _read(path: Path, lines: Iterable[tuple[int, bytes]], source: str) -> tuple[list[Task], list[str]]:
    tasks: dict[str, tuple[int, Task]] = {}
    problems: list[str] = []
    for number, line in lines:
        found, task = _read_line(line, source)
        if task is not None and task.id in tasks:
            found = [Problem("id", f"also in line {tasks[task.id][0]}", task.id, "each id once")]
        elif task is not None:
            tasks[task.id] = (number, task)
        problems += [f"{path}:{number}: {problem}" for problem in found]
    return [task for _, task in tasks.values()], problems


def _error(path: Path, problems: list[str]) -> TaskError:
    shown = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return TaskError(f"{path}: {count}", problems=shown, hint=FORMAT_HINT)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line by line, never more than one line's limit in memory; a longer line comes cut, and is refused for its length."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 2):
                number += 1
                if len(line) > MAX_LINE_BYTES + 1:
                    _skip_line(file)
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except FileNotFoundError:
        raise TaskError(
            f"{path}: no such file", hint="`mlx-selfdebug tasks list` shows the sets known by name"
        ) from None
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror or error}") from error


def _skip_line(file: Any) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _read_line(line: bytes, source: str) -> tuple[list[Problem], Task | None]:
    try:
        record = _parse_json(line)
    except LineError as error:
        return [error.problem], None
    problems = problems_of(record)
    return (problems, None) if problems else ([], build(record, source))


def _parse_json(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise LineError("line", "too long", "", f"at most {MAX_LINE_BYTES:,} bytes")
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as error:
        raise LineError(
            "line", f"not UTF-8 at byte {error.start + 1}", line[error.start : error.start + 4], "UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise LineError(
            "line", f"not JSON at column {error.colno} ({error.msg})", error.doc[error.pos :], "a JSON object"
        ) from None
    except (RecursionError, ValueError) as error:
        raise LineError("line", f"not JSON we read ({error})", "", "a JSON object") from None
    if not isinstance(record, dict):
        raise LineError("line", "not an object", record, 'a JSON object: {"id": ...}')
    return record


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LineError(twice, "given twice", "", "each key once")
    return record


def _to_json(task: Task) -> dict[str, Any]:
    record = {
        "id": task.id,
        "domain": task.domain,
        "statement": task.statement,
        "entry_point": task.entry_point,
        "starter_code": task.starter_code,
        "public": _checks_to_json(task.public),
        "hidden": _checks_to_json(task.hidden),
        "data": task.data,
        "reference": task.reference,
        "wrong": list(task.wrong),
        "difficulty": task.difficulty,
        "pass_rate": task.pass_rate,
    }
    optional: dict[str, Any] = {
        "domain": "python",
        "starter_code": "",
        "data": "",
        "reference": "",
        "wrong": [],
        "difficulty": "",
        "pass_rate": None,
    }
    return {key: value for key, value in record.items() if key not in optional or value != optional[key]}


def _checks_to_json(checks: Checks) -> list[str] | dict[str, str]:
    """A list of asserts where that says the same; else the source as it stands."""
    asserts = _statements(checks.source)
    if checks.kind == "call" and asserts is not None and Checks.from_asserts(asserts) == checks:
        return asserts
    optional = {"setup": checks.setup, "kind": checks.kind if checks.kind != "call" else ""}
    return {"source": checks.source} | {key: value for key, value in optional.items() if value}


def _statements(source: str) -> list[str] | None:
    if not source:
        return []
    body = parse_quietly(source).body
    function = body[0] if len(body) == 1 else None
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    segments = [ast.get_source_segment(source, node) for node in function.body]
    return [segment for segment in segments if segment is not None]
