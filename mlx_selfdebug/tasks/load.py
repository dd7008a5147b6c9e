"""Load a task set by its name or its path. To add a set, add an entry to ``_SETS``.

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
"""The suffixes of our own task files. A name that ends in one of them is taken for a path, even if there is no such file."""
STARTER_FOLDER = Path(__file__).parent / "starter"
TABLES_FOLDER = Path(__file__).parent / "tables"
"""The folder of the sets for regular expressions, jq and data frames."""


def load_tasks(name: str | os.PathLike[str]) -> TaskSet:
    """Load the task set that ``name`` stands for.

    ``name`` is one of these:

    - the name of a known set, such as ``starter`` (``available_sets``);
    - such a name with a path, as in ``mbpp:FILE`` or ``functions:FOLDER``, or with the settings of a generator, as in
      ``reasoning-gym:chain_sum,size=100``;
    - the path of a file in our own format, such as ``my_tasks.jsonl``, or of a folder of tasks. A path may begin with ``~``.

    Raises UnknownNameError if the name is not known, and TaskError if a file is missing or has problems.
    """
    text = os.fspath(name)
    set_name, _, path = text.partition(":")
    if set_name == "reasoning-gym" and path:
        from mlx_selfdebug.tasks.sets.mathematics import reasoning_tasks

        return TaskSet(text, reasoning_tasks(path))
    if set_name in _SETS and (path or text == set_name):
        return TaskSet(set_name, _SETS[set_name].load(set_name, path))
    own = _path(text)
    if os.path.isdir(own):
        from mlx_selfdebug.tasks.own.folder import folder_tasks

        return TaskSet(own.resolve().name, folder_tasks(own))
    if os.path.isfile(own) or os.sep in text or own.suffix in OWN_SUFFIXES:
        return TaskSet(stem(own), read_tasks(own))
    raise UnknownNameError("task set", text, _SETS, hint="to load a file of your own tasks, give its path: tasks.jsonl")


def _path(text: str) -> Path:
    """Return ``text`` as a path with ``~`` expanded. A shell does not expand it after a colon, as in ``mbpp:~/FILE``."""
    return Path(os.path.expanduser(text))


def shipped_sets() -> list[str]:
    """Return the names of the sets that come with this package."""
    return [name for name, entry in _SETS.items() if entry.shipped]


def available_sets() -> dict[str, str]:
    """Return the name of every known set with a description of one line."""
    return {name: entry.description for name, entry in _SETS.items()}


@dataclass(frozen=True)
class _Set:
    """A set that is known by name."""

    description: str
    read: Callable[[Path | None], list[Task]]
    """Reads the tasks from the path in ``name:path``, or from the published file. It is given None if the set has neither."""
    published: Published | None = None
    """The file that is downloaded if no path is given, or None if the set has none."""
    takes_path: bool = False
    """Whether ``name:path`` is allowed."""
    installed: bool = False
    """Whether a set that takes a path can also be read without one, since an installed package brings it."""
    shipped: bool = False
    """Whether the set comes with this package."""

    def load(self, name: str, path: str) -> list[Task]:
        """Read the tasks. ``path`` is empty if none was given. Raises TaskError if the set needs a path, or takes none."""
        if path and not self.takes_path:
            raise TaskError(
                f"the task set {name} takes no path, but {path!r} was given",
                hint=f"write {name}, or only the path to load a file of your own",
            )
        if not path and self.takes_path and not (self.published or self.installed):
            raise TaskError(f"the task set {name} is read from a file, and none was given", hint=f"write {name}:PATH")
        if path:
            return self.read(_path(path))
        return self.read(self.published.fetch(name) if self.published else None)


def _starter_tasks(_: Path | None) -> list[Task]:
    return [task for file in sorted(STARTER_FOLDER.glob("*.jsonl")) for task in read_tasks(file, source="starter")]


def _mixed_starter_tasks(_: Path | None) -> list[Task]:
    return [task for task in _starter_tasks(None) if task.pass_rate is not None and 0 < task.pass_rate < 1]


def _table_tasks(name: str) -> Callable[[Path | None], list[Task]]:
    return lambda _: read_tasks(TABLES_FOLDER / f"{name}.jsonl")


def _refuse_without_generator(_: Path | None) -> list[Task]:
    raise TaskError(
        "reasoning-gym needs the name of a generator", hint="for example: reasoning-gym:chain_sum,size=100,seed=0"
    )


def _garden_tasks(domain: str) -> Callable[[Path | None], list[Task]]:
    """Return a function that reads the garden set for ``domain``. Its module is imported when the set is read."""

    def read(_: Path | None) -> list[Task]:
        from mlx_selfdebug.tasks.sets.sql import garden_tasks

        return garden_tasks(domain)

    return read


def _reader(module: str, function: str, *arguments: str) -> Callable[[Path | None], list[Task]]:
    """Return a function that takes a path and calls a function of another module with the path and ``arguments``.

    ``module`` is imported when the function is called, so that a set costs nothing until it is loaded.
    """

    def read(path: Path | None) -> list[Task]:
        tasks: list[Task] = getattr(import_module(f"mlx_selfdebug.tasks.{module}"), function)(path, *arguments)
        return tasks

    return read


def _set_of_file(
    description: str, module: str, function: str, *arguments: str, published: Published | None = None
) -> _Set:
    """Return a set that a function of another module reads from a file or a folder."""
    return _Set(description, _reader(module, function, *arguments), published, takes_path=True)


_PACK = Published("bigcode/humanevalpack", "data/python/data/humanevalpack.jsonl")
_MBPP = "google-research-datasets/mbpp"


def _gsm8k_file(split: str) -> Published:
    return Published("openai/gsm8k", f"main/{split}-00000-of-00001.parquet")


def _mbpp_set(split: str, description: str) -> _Set:
    """Return the set of one split of MBPP, for which the hub has a file of its own."""
    return _set_of_file(
        f"MBPP, {description}",
        "sets.mbpp",
        "mbpp_tasks",
        split,
        published=Published(_MBPP, f"full/{split}-00000-of-00001.parquet"),
    )


_SETS = {
    "starter": _Set(
        "short Python functions and classes to learn from; comes with the package", _starter_tasks, shipped=True
    ),
    "starter-mixed": _Set(
        "the starter tasks that some drafts of the default model pass and some do not", _mixed_starter_tasks
    ),
    "humaneval": _Set(
        "164 Python functions (OpenAI), or your own: humaneval:FILE; the docstrings' examples are the public checks",
        _reader("sets.humaneval", "humaneval_tasks"),
        takes_path=True,
        installed=True,
    ),
    "humanevalpack": _set_of_file(
        "HumanEval with separate example tests", "sets.humaneval", "humanevalpack_tasks", published=_PACK
    ),
    "humanevalfix": _set_of_file(
        "HumanEvalPack's wrong functions, to be corrected", "sets.humaneval", "humanevalfix_tasks", published=_PACK
    ),
    "humanevalplus": _set_of_file("HumanEval with many more inputs (EvalPlus)", "sets.evalplus", "humanevalplus_tasks"),
    "mbpp-train": _mbpp_set("train", "tasks 601-974: Python functions to learn from"),
    "mbpp-validation": _mbpp_set("validation", "tasks 511-600: to validate on"),
    "mbpp": _mbpp_set("test", "tasks 11-510: to measure on; one assert is public"),
    "mbppplus": _set_of_file("MBPP with many more inputs (EvalPlus)", "sets.evalplus", "mbppplus_tasks"),
    "garden": _Set(
        "67 questions in SQL over a small database; comes with the package", _garden_tasks("sql"), shipped=True
    ),
    "garden-duckdb": _Set(
        "the questions of garden in DuckDB's SQL; comes with the package", _garden_tasks("duckdb"), shipped=True
    ),
    "geoquery-train": _set_of_file(
        "GeoQuery's questions on US geography in SQL, to learn from", "sets.sql", "geoquery_tasks", "train"
    ),
    "geoquery": _set_of_file("GeoQuery's test questions", "sets.sql", "geoquery_tasks", "test"),
    "spider": _set_of_file(
        "questions and databases in Spider's format, which may be your own", "sets.sql", "spider_tasks"
    ),
    "gsm8k": _set_of_file(
        "1,319 problems of school mathematics, to measure on",
        "sets.mathematics",
        "gsm8k_tasks",
        published=_gsm8k_file("test"),
    ),
    "gsm8k-train": _set_of_file(
        "GSM8K's problems to learn from", "sets.mathematics", "gsm8k_tasks", published=_gsm8k_file("train")
    ),
    "reasoning-gym": _Set(
        "generated puzzles and sums: reasoning-gym:GENERATOR,size=100,seed=0", _refuse_without_generator
    ),
    "regex": _Set("22 regular expressions; comes with the package", _table_tasks("regex"), shipped=True),
    "jq": _Set("19 jq filters; comes with the package", _table_tasks("jq"), shipped=True),
    "pandas": _Set("22 functions over data frames; comes with the package", _table_tasks("pandas"), shipped=True),
    "polars": _Set("the tasks of pandas for polars; comes with the package", _table_tasks("polars"), shipped=True),
    "proofs": _Set(
        "95 theorems to prove in Rocq, or your own in Rocq or Lean: proofs:FILE; comes with the package",
        _reader("sets.proofs", "proof_tasks"),
        takes_path=True,
        installed=True,
        shipped=True,
    ),
    "functions": _set_of_file(
        "the functions and methods of your own project that its tests run: functions:FOLDER",
        "own.functions",
        "function_tasks",
    ),
    "bugs": _set_of_file(
        "the same functions with bugs put in, to be corrected: bugs:FOLDER", "own.functions", "bug_tasks"
    ),
}
