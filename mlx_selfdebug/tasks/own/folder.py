"""Read a folder of tasks, in which each task is a folder of its own:

    my_tasks/double/task.md          what is asked; a heading in its first line is not part of it
                    reference.py     a complete answer; the function or class named like the folder is tested, or else the
                                     only public one
                    test_public.py   tests that may be shown; without this file, the examples (>>>) in task.md may be shown
                    test_*.py        tests that score, for pytest or unittest (translating/unittests.py says what is supported);
                                     *_test.py, test.py and tests.py are read as well
                    wrong_*.py       answers that must not pass, if there are any; they are never read as tests

A folder that holds a task.md itself is read as a single task. Every test of a task is run. If one cannot be, the task is refused
with an error that names the test and the reason.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.own.source import (
    SourceError,
    is_test_file,
    joined,
    parsed,
    python_files,
    read_text,
    starter_of,
)
from mlx_selfdebug.tasks.sets.records import raise_problems
from mlx_selfdebug.translating.doctests import doctest_statements
from mlx_selfdebug.translating.imports import sole_name
from mlx_selfdebug.translating.unittests import Suite
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

STATEMENT, REFERENCE, PUBLIC = "task.md", "reference.py", "test_public.py"


def folder_tasks(folder: Path) -> list[Task]:
    """Return the tasks of a folder in the order of their folders' names. Raises TaskError with all problems of all tasks."""
    if os.path.isfile(folder / STATEMENT):
        readers = [_Reader(folder)]
    else:
        # A folder with only one of the two files is meant as a task: it is read, and the other file is reported as missing.
        folders = {path.parent for name in (STATEMENT, REFERENCE) for path in folder.glob(f"*/{name}")}
        readers = [_Reader(task_folder, _name_of(folder)) for task_folder in sorted(folders)]
    if not readers:
        raise TaskError(
            f"{folder}: the folder holds no task",
            hint=f"a task is a folder with {STATEMENT}, {REFERENCE} and test_*.py",
        )
    tasks = [task for reader in readers if (task := reader.task())]
    raise_problems(folder, [problem for reader in readers for problem in reader.problems])
    return tasks


class _Reader:
    """Reads the folder of one task.

    Args:
        folder: The folder of the task.
        set_name: The name of the set that the task belongs to, or an empty string. The task's id begins with it.
    """

    def __init__(self, folder: Path, set_name: str = "") -> None:
        self.folder, self.name, self.set_name = folder, _name_of(folder), set_name
        self.problems: list[str] = []
        """What is wrong with the task, each as ``path: what`` or ``path:line: what``."""

    def task(self) -> Task | None:
        """Return the task, or None if there are problems. They are added to ``problems``."""
        text = self._text(STATEMENT)
        reference = self._text(REFERENCE)
        node = self._entry(reference)
        entry_point = node.name if node else ""
        wrong_files = sorted(self.folder.glob("wrong_*.py"))
        hidden_files = [path.name for path in self._test_files() if path not in wrong_files and path.name != PUBLIC]
        if not hidden_files:
            self._problem(self.folder, f"no hidden tests: add a test_*.py ({PUBLIC} does not count)")
        has_public = os.path.isfile(self.folder / PUBLIC)
        public = self._tests([PUBLIC], entry_point) if has_public else self._examples(text, entry_point)
        hidden = self._tests(hidden_files, entry_point)
        wrong = tuple(self._text(path.name) for path in wrong_files)
        if self.problems or node is None:
            return None
        return Task(
            id=f"{self.set_name}/{self.name}".strip("/").replace(" ", "-"),
            domain="python",
            statement=_without_heading(text),
            entry_point=node.name,
            starter_code=starter_of(reference, node),
            public=public,
            hidden=hidden,
            reference=reference,
            wrong=wrong,
            source=self.set_name or self.name,
        )

    def _test_files(self) -> list[Path]:
        """Return the files of tests in the task's folder, and add those in folders inside it to the problems."""
        files = [path for path in sorted(python_files(self.folder)) if is_test_file(path.name)]
        for path in files:
            if path.parent != self.folder:
                self._problem(path, f"a file of tests has to be in the same folder as {REFERENCE}")
        return [path for path in files if path.parent == self.folder]

    def _text(self, name: str) -> str:
        """Return the text of a file, or an empty string if it cannot be read."""
        path = self.folder / name
        try:
            text = read_text(path)
        except SourceError as error:
            self._problem(path, error.what, error.line)
            return ""
        if not text.strip():
            self._problem(path, "the file is empty")
        return text

    def _entry(self, reference: str) -> ast.FunctionDef | ast.ClassDef | None:
        """Return what is tested: the function or class that is named like the folder, or else the only public one."""
        try:
            body = parsed(reference).body
        except SourceError as error:
            self._problem(self.folder / REFERENCE, error.what, error.line)
            return None
        definitions = {
            node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        }
        named = definitions.get(re.sub(r"\W", "_", self.name))
        if named is None and len(definitions) == 1:
            return next(iter(definitions.values()))
        if named is None and reference.strip():
            names = ", ".join(definitions) or "none"
            needed = "a single public function or class, or one named like the folder, is needed"
            self._problem(self.folder / REFERENCE, f"defines {names}, but {needed}")
        return named

    def _tests(self, names: list[str], entry_point: str) -> Checks:
        """Return checks that run all tests of these files. ``entry_point`` is empty if it is not known."""
        checks = []
        for name in names:
            path, text = self.folder / name, self._text(name)
            if not text.strip():
                continue
            try:
                suite = Suite(text)
            except SyntaxError as error:
                self._problem(path, f"not valid Python: {error.msg}", error.lineno or 1)
                continue
            except ValueError as error:
                self._problem(path, str(error))
                continue
            name_of = sole_name(suite.imports, entry_point)
            refusals = suite.refusals(name_of if entry_point else None)
            for refusal in refusals:
                self._problem(path, refusal)
            if not refusals:
                checks.append(Checks.from_source(suite.source(name_of)))
        return joined(checks)

    def _examples(self, text: str, entry_point: str) -> Checks:
        """Return the examples in the statement, which begin with ``>>>``, as checks."""
        if ">>>" not in text:
            return Checks()
        try:
            return Checks.from_asserts(doctest_statements(text, entry_point))
        except (ValueError, SyntaxError) as error:
            self._problem(self.folder / STATEMENT, str(error))
            return Checks()

    def _problem(self, path: Path, what: str, line: int = 0) -> None:
        """Add a problem of a file or folder. ``line`` is the number of the line to blame, or 0."""
        self.problems.append(f"{path}:{line}: {what}" if line else f"{path}: {what}")


def _name_of(folder: Path) -> str:
    """Return the name of a folder, also of one that is given as ``.`` or ``..``."""
    return os.path.basename(os.path.abspath(folder))


def _without_heading(text: str) -> str:
    """Return a statement without a heading in its first line, unless the heading is all of it."""
    first, _, rest = text.strip().partition("\n")
    return rest.strip() if first.startswith("#") and rest.strip() else text.strip()
