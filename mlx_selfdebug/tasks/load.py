"""Load a task set by its name or its path. A new set is one entry of ``_SETS``.

>>> from mlx_selfdebug.tasks.load import available_sets, load_tasks
>>> "starter" in available_sets()
True
>>> load_tasks("starter")[0].id.partition("/")[0]
'starter'
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mlx_selfdebug.errors import TaskError, UnknownNameError
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.jsonl import read_tasks
from mlx_selfdebug.tasks.sets.published import Published
from mlx_selfdebug.tasks.task_set import TaskSet
from mlx_selfdebug.values.task import Task

OWN_SUFFIXES = (".jsonl", ".json", ".gz", ".parquet")
"""The suffixes by which a text counts as the path of a file even if there is no such file."""
STARTER_FOLDER = Path(__file__).parent / "starter"
TABLES_FOLDER = Path(__file__).parent / "tables"


def load_tasks(name: str | os.PathLike[str]) -> TaskSet:
    """Return the task set that ``name`` stands for.

    ``name`` is a known name such as ``starter``, or ``name:PATH`` for the published file of a known set. It may also be the path of
    a file in our own format, such as ``tasks.jsonl``, or of a folder of tasks. A path may begin with ``~``.

    Raises UnknownNameError if the name is not known, and TaskError if a file is missing or has problems.
    """
    text = os.fspath(name)
    kind, _, path = text.partition(":")
    if kind == "reasoning-gym" and path:
        from mlx_selfdebug.tasks.sets.mathematics import reasoning_tasks

        return TaskSet(text, reasoning_tasks(path))
    if kind in _SETS and (path or text == kind):
        return TaskSet(kind, _SETS[kind].load(kind, path))
    own = _path(text)
    if own.is_dir():
        from mlx_selfdebug.tasks.own.folder import folder_tasks

        return TaskSet(own.resolve().name, folder_tasks(own))
    if own.is_file() or os.sep in text or own.suffix in OWN_SUFFIXES:
        return TaskSet(stem(own), read_tasks(own))
    raise UnknownNameError("task set", text, _SETS, hint="to load a file of your own tasks, give its path: tasks.jsonl")


def _path(text: str) -> Path:
    """Return the path that ``text`` names, with ``~`` expanded: a shell does so only at the beginning of a word."""
    return Path(os.path.expanduser(text))


def shipped_sets() -> list[str]:
    """Return the names of the sets that come with the package."""
    return [name for name, entry in _SETS.items() if entry.shipped]


def available_sets() -> dict[str, str]:
    """Return the name of every known set with a description of one line."""
    return {name: entry.description for name, entry in _SETS.items()}


@dataclass(frozen=True)
class _Set:
    """A set that is known by name."""

    description: str
    read: Callable[[Path | None], list[Task]]
    """Reads the tasks from the path in ``name:path``, or from the published file. It gets None if the set has neither."""
    published: Published | None = None
    """The file that is downloaded if no path is given."""
    takes_path: bool = False
    installed: bool = False
    """Whether the set can be read without a path, since it comes with a package that is installed."""
    shipped: bool = False
    """Whether the set comes with this package."""

    def load(self, name: str, path: str) -> list[Task]:
        if path and not self.takes_path:
            raise TaskError(
                f"the task set {name} takes no path, but {path!r} was given",
                hint=f"write {name}, or only the path to load a file of your own",
            )
        if not path and self.takes_path and not (self.published or self.installed):
            raise TaskError(f"the task set {name} is read from a file, and none was given", hint=f"write {name}:PATH")
        return self.read(_path(path) if path else self.published.fetch(name) if self.published else None)


def _starter(_: Path | None) -> list[Task]:
    return [task for file in sorted(STARTER_FOLDER.glob("*.jsonl")) for task in read_tasks(file, source="starter")]


def _mixed(_: Path | None) -> list[Task]:
    return [task for task in _starter(None) if task.pass_rate is not None and 0 < task.pass_rate < 1]


def _tables(name: str) -> Callable[[Path | None], list[Task]]:
    return lambda _: read_tasks(TABLES_FOLDER / f"{name}.jsonl")


def _no_generator(_: Path | None) -> list[Task]:
    raise TaskError(
        "reasoning-gym needs the name of a generator", hint="for example: reasoning-gym:chain_sum,size=100,seed=0"
    )


def _garden(domain: str) -> Callable[[Path | None], list[Task]]:
    def read(_: Path | None) -> list[Task]:
        from mlx_selfdebug.tasks.sets.sql import garden_tasks

        return garden_tasks(domain)

    return read


def _reader(module: str, name: str, *more: object) -> Callable[[Path | None], list[Task]]:
    """Return a function that imports ``module`` when it is called, and calls the module's function ``name``."""

    def read(path: Path | None) -> list[Task]:
        tasks: list[Task] = getattr(import_module(f"mlx_selfdebug.tasks.{module}"), name)(path, *more)
        return tasks

    return read


def _of_file(description: str, module: str, reader: str, *more: object, published: Published | None = None) -> _Set:
    return _Set(description, _reader(module, reader, *more), published, takes_path=True)


_PACK = Published("bigcode/humanevalpack", "data/python/data/humanevalpack.jsonl")
_MBPP = "google-research-datasets/mbpp"


def _gsm8k(split: str) -> Published:
    return Published("openai/gsm8k", f"main/{split}-00000-of-00001.parquet")


def _mbpp(split: str, description: str) -> _Set:
    """Return one split of MBPP. The hub has one file per split, under the names of the splits."""
    return _of_file(
        f"MBPP, {description}",
        "sets.mbpp",
        "mbpp_tasks",
        split,
        published=Published(_MBPP, f"full/{split}-00000-of-00001.parquet"),
    )


_SETS = {
    "starter": _Set("short Python functions and classes to learn from; comes with the package", _starter, shipped=True),
    "starter-mixed": _Set("the starter tasks that some drafts of the default model pass and some do not", _mixed),
    "humaneval": _Set(
        "164 Python functions (OpenAI), or your own: humaneval:FILE; the docstrings' examples are the public checks",
        _reader("sets.humaneval", "humaneval_tasks"),
        takes_path=True,
        installed=True,
    ),
    "humanevalpack": _of_file(
        "HumanEval with separate example tests", "sets.humaneval", "humanevalpack_tasks", published=_PACK
    ),
    "humanevalfix": _of_file(
        "HumanEvalPack's wrong functions, to be corrected", "sets.humaneval", "humanevalfix_tasks", published=_PACK
    ),
    "humanevalplus": _of_file("HumanEval with many more inputs (EvalPlus)", "sets.evalplus", "humanevalplus_tasks"),
    "mbpp-train": _mbpp("train", "tasks 601-974: Python functions to learn from"),
    "mbpp-validation": _mbpp("validation", "tasks 511-600: to validate on"),
    "mbpp": _mbpp("test", "tasks 11-510: to measure on; one assert is public"),
    "mbppplus": _of_file("MBPP with many more inputs (EvalPlus)", "sets.evalplus", "mbppplus_tasks"),
    "garden": _Set("67 questions in SQL over a small database; comes with the package", _garden("sql"), shipped=True),
    "garden-duckdb": _Set(
        "the questions of garden in DuckDB's SQL; comes with the package", _garden("duckdb"), shipped=True
    ),
    "geoquery-train": _of_file(
        "GeoQuery's questions on US geography in SQL, to learn from", "sets.sql", "geoquery_tasks", "train"
    ),
    "geoquery": _of_file("GeoQuery's test questions", "sets.sql", "geoquery_tasks", "test"),
    "spider": _of_file("questions and databases in Spider's format, which may be your own", "sets.sql", "spider_tasks"),
    "gsm8k": _of_file(
        "1,319 problems of school mathematics, to measure on",
        "sets.mathematics",
        "gsm8k_tasks",
        published=_gsm8k("test"),
    ),
    "gsm8k-train": _of_file(
        "GSM8K's problems to learn from", "sets.mathematics", "gsm8k_tasks", published=_gsm8k("train")
    ),
    "reasoning-gym": _Set("generated puzzles and sums: reasoning-gym:GENERATOR,size=100,seed=0", _no_generator),
    "regex": _Set("22 regular expressions; comes with the package", _tables("regex"), shipped=True),
    "jq": _Set("19 jq filters; comes with the package", _tables("jq"), shipped=True),
    "pandas": _Set("22 functions over data frames; comes with the package", _tables("pandas"), shipped=True),
    "polars": _Set("the tasks of pandas for polars; comes with the package", _tables("polars"), shipped=True),
    "proofs": _Set(
        "95 theorems to prove in Rocq, or your own: proofs:FILE; comes with the package",
        _reader("sets.proofs", "proof_tasks"),
        takes_path=True,
        installed=True,
        shipped=True,
    ),
    "functions": _of_file(
        "the functions and methods of your own project that its tests run: functions:FOLDER",
        "own.functions",
        "function_tasks",
    ),
    "bugs": _of_file("the same functions with bugs put in, to be corrected: bugs:FOLDER", "own.functions", "bug_tasks"),
}
