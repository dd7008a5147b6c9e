"""Read and write our own task files, which hold one JSON object per task. README.md beside this file documents the format.

``read_tasks`` reads one object per line, objects of several lines, or an array, also compressed with gzip (files.py). It reports
all problems of a file at once; schema.py says what an object may hold. ``dump_tasks`` writes one object per line, with every field
of a task but ``source``, which says where the task was read from. ``append_task`` adds a task to a file of one object per line.

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
import errno
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.tasks.files import json_texts, parsed, stem
from mlx_selfdebug.tasks.forms import refuse_other_form
from mlx_selfdebug.tasks.schema import FIELDS, Problem, build, problems_of
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

MAX_LINE_BYTES = 1_000_000
"""The largest size of the JSON text of one task."""
MAX_PROBLEMS = 100
"""The largest number of problems that an error lists."""
FORMAT_HINT = "the format is described in mlx_selfdebug/tasks/README.md"


class LineError(Exception):
    """Raised if the text of a task is not a JSON object. It holds the ``Problem`` that the arguments describe."""

    def __init__(self, field: str, what: str, value: object, allowed: str) -> None:
        self.problem = Problem(field, what, value, allowed)
        super().__init__(str(self.problem))


def read_tasks(path: Path, *, source: str = "") -> list[Task]:
    """Read the tasks of a file in our own format.

    ``source`` becomes the source of each task. By default it is the file's name without its suffix.

    Raises TaskError with all problems of the file, each as ``file:line: field: what, value, what is allowed``. If the records have
    the form of a public set, the error says under which name to load the file instead.
    """
    texts = list(json_texts(path))
    tasks, problems = _read_texts(texts, source or stem(path))
    if not texts:
        problems = [f"{path}:1: the file holds no task, expected one JSON object per line"]
    if problems:
        refuse_other_form(path, parsed(texts[0][1]) if texts else None, tuple(FIELDS))
        raise _error(path, problems)
    return tasks


def dump_tasks(tasks: Iterable[Task], path: str | Path) -> None:
    """Write tasks to a file that ``read_tasks`` reads, and replace the file if it exists.

    Raises TaskError, with all problems, if a task does not fit the format. Then nothing is written.
    """
    file = Path(path)
    lines = [json.dumps(_to_json(task), ensure_ascii=False) for task in tasks]
    texts = ((f"{file}:{number}", line.encode("utf-8", "surrogatepass")) for number, line in enumerate(lines, 1))
    _, problems = _read_texts(texts, "")
    if problems:
        raise _error(file, problems)
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def append_task(task: Task, path: str | Path) -> Task:
    """Append ``task`` to a file of one object per line, and return the task as it is stored.

    The file is created if it does not exist. If another task of the file has the same id, a number is added to the id, as in
    "mine/one-2". Raises TaskError, and leaves the file as it was, if the file has problems or is of another form, if it holds the
    task already, or if the task does not fit the format.
    """
    file = Path(path)
    is_new = not file.exists() or not file.stat().st_size
    known = {} if is_new else {other.id: other for other in read_tasks(file, source=task.source)}
    if not is_new and not file.read_bytes().lstrip().startswith(b"{"):
        raise TaskError(
            f"{file} is not a file of one task per line, so no task can be appended", hint="choose another file"
        )
    same = next((other.id for other in known.values() if replace(other, id=task.id) == task), None)
    if same:
        raise TaskError(f"{file} holds this task already, as {same}")
    ids = [task.id, *(f"{task.id}-{n}" for n in range(2, len(known) + 3))]
    stored = replace(task, id=next(id_ for id_ in ids if id_ not in known))
    line = json.dumps(_to_json(stored), ensure_ascii=False) + "\n"
    _, problems = _read_texts([(f"{file}:{len(known) + 1}", line.encode("utf-8", "surrogatepass"))], "")
    if problems:
        raise _error(file, problems)
    _append(file, line)
    return stored


def _append(file: Path, line: str) -> None:
    """Append a line to a file, after an end of line if the file lacks one. If that fails, the file gets its old length again."""
    try:
        # Without a buffer, nothing of the line is left over to be written when the file is closed after an error.
        with file.open("a+b", buffering=0) as opened:
            n_bytes = opened.seek(0, os.SEEK_END)
            lacks_end = n_bytes and not file.read_bytes().endswith(b"\n")
            data = (b"\n" if lacks_end else b"") + line.encode()
            if opened.write(data) < len(data):
                opened.truncate(n_bytes)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise TaskError(f"{file} cannot be written: {error.strerror}", hint="choose another file") from error


def _read_texts(texts: Iterable[tuple[str, bytes]], source: str) -> tuple[list[Task], list[str]]:
    """Return the tasks of JSON texts, and all problems of the texts. ``texts`` are pairs of a place and a text."""
    tasks: dict[str, tuple[str, Task]] = {}
    problems: list[str] = []
    for place, text in texts:
        own_problems, task = _read_task(text, source)
        if task is not None and task.id in tasks:
            first = Path(tasks[task.id][0]).name
            own_problems = [
                Problem("id", f"already used at {first}", task.id, "each id may be used only once in a file")
            ]
        elif task is not None:
            tasks[task.id] = (place, task)
        problems += [f"{place}: {problem}" for problem in own_problems]
    return [task for _, task in tasks.values()], problems


def _error(path: Path, problems: list[str]) -> TaskError:
    """Return the error that lists the problems of a file, up to ``MAX_PROBLEMS``."""
    shown = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return TaskError(f"{path}: {count}", problems=shown, hint=FORMAT_HINT)


def _read_task(text: bytes, source: str) -> tuple[list[Problem], Task | None]:
    """Return the task of a JSON text, or the problems that keep it from being one."""
    try:
        record = _parse_json(text)
    except LineError as error:
        return [error.problem], None
    problems = problems_of(record)
    return (problems, None) if problems else ([], build(record, source))


def _parse_json(line: bytes) -> dict[str, Any]:
    """Return the object of a JSON text. Raises LineError if the text is too long, or is not a JSON object."""
    if len(line) > MAX_LINE_BYTES:
        raise LineError("line", "too long", "", f"at most {MAX_LINE_BYTES:,} bytes are allowed")
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as error:
        raise LineError(
            "line", f"not UTF-8 at byte {error.start + 1}", line[error.start : error.start + 4], "expected UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise LineError(
            "line", f"not JSON at column {error.colno} ({error.msg})", error.doc[error.pos :], "expected a JSON object"
        ) from None
    except (RecursionError, ValueError) as error:
        raise LineError("line", f"not JSON that can be read ({error})", "", "expected a JSON object") from None
    if not isinstance(record, dict):
        raise LineError("line", "not an object", record, 'expected a JSON object: {"id": ...}')
    return record


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys and values. Raises LineError if a key is repeated: ``json`` would keep only the last value."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise LineError(repeated, "given twice", "", "each key may be given only once")
    return record


def _to_json(task: Task) -> dict[str, Any]:
    """Return the JSON object of a task, without optional fields that have their default value."""
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
    defaults: dict[str, Any] = {
        "domain": "python",
        "starter_code": "",
        "data": "",
        "reference": "",
        "wrong": [],
        "difficulty": "",
        "pass_rate": None,
    }
    return {key: value for key, value in record.items() if key not in defaults or value != defaults[key]}


def _checks_to_json(checks: Checks) -> list[str] | dict[str, str]:
    """Return the checks as a list of asserts if reading that list gives the same checks, otherwise as an object with the source."""
    asserts = _asserts(checks.source)
    if checks.kind == "call" and asserts is not None and Checks.from_asserts(asserts) == checks:
        return asserts
    optional = {"setup": checks.setup, "kind": checks.kind if checks.kind != "call" else ""}
    return {"source": checks.source} | {key: value for key, value in optional.items() if value}


def _asserts(source: str) -> list[str] | None:
    """Return the asserts of a function ``check``, each below the statements that stand between it and the previous one.

    Returns None if the source is not a single function, or if statements follow its last assert.
    """
    if not source:
        return []
    body = parse_quietly(source).body
    function = body[0] if len(body) == 1 else None
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    asserts: list[str] = []
    preparing: list[str] = []
    for node in function.body:
        preparing.append(ast.unparse(node))
        if isinstance(node, ast.Assert):
            asserts.append("\n".join(preparing))
            preparing = []
    return None if preparing else asserts
