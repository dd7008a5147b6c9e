"""Read a folder of tasks, in which each task is a folder of its own:

    my_tasks/double/task.md          what is asked; a heading in its first line is not part of it
                    reference.py     a complete answer; what it defines under the folder's name, or alone, is tested
                    test_public.py   tests that may be shown; without it, the examples (>>>) in task.md are
                    test_*.py        tests that score, for pytest or unittest (translating/unittests.py says what is supported);
                                     *_test.py and tests.py are read as well
                    wrong_*.py       answers that must not pass, if there are any

A folder that holds a task.md itself is read as a single task. Every test of a task is run. If one cannot be, the task is refused
with an error that names the test and the reason.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.own.source import is_test_file, joined, parsed, read_text, starter_of
from mlx_selfdebug.tasks.sets.records import raise_problems
from mlx_selfdebug.translating.doctests import doctest_statements
from mlx_selfdebug.translating.imports import sole_name
from mlx_selfdebug.translating.unittests import Suite
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

STATEMENT, REFERENCE, PUBLIC = "task.md", "reference.py", "test_public.py"


def folder_tasks(folder: Path) -> list[Task]:
    """Return the tasks of a folder in the order of their folders' names. Raises TaskError with all problems of all tasks."""
    if (folder / STATEMENT).is_file():
        folders = [folder]
    else:
        # A folder with only one of the two files is meant as a task: it is read, and the other file is reported as missing.
        folders = sorted({path.parent for name in (STATEMENT, REFERENCE) for path in folder.glob(f"*/{name}")})
    if not folders:
        raise TaskError(
            f"{folder}: the folder holds no task",
            hint=f"a task is a folder with {STATEMENT}, {REFERENCE} and test_*.py",
        )
    tasks: list[Task] = []
    problems: list[str] = []
    for task_folder in folders:
        try:
            tasks.append(_Reader(task_folder, problems).task(folder.name if task_folder != folder else ""))
        except _UnreadableError:
            continue  # its reasons are among the problems
    raise_problems(folder, problems)
    return tasks


class _UnreadableError(Exception):
    """A task cannot be read. The reader has added the reasons to its problems."""


class _Reader:
    """Reads the folder of one task, and adds what is wrong with it to a list of problems.

    Args:
        folder: The folder of the task.
        problems: The list to which problems are added, each as ``file: what`` or ``file:line: what``.
    """

    def __init__(self, folder: Path, problems: list[str]) -> None:
        self.folder, self.problems = folder, problems
        self.n_earlier_problems = len(problems)

    def task(self, set_name: str) -> Task:
        """Return the task, with the name of its set before its id. Raises _UnreadableError if there was any problem."""
        text = self._text(STATEMENT)
        reference = self._text(REFERENCE)
        node = self._entry(reference)
        entry_point = node.name if node else ""
        files = [path for path in sorted(self.folder.rglob("*.py")) if is_test_file(path.name)]
        for path in files:
            if path.parent != self.folder:
                self._problem(
                    str(path.relative_to(self.folder)), f"a file of tests has to be in the same folder as {REFERENCE}"
                )
        hidden = [path.name for path in files if path.parent == self.folder and path.name != PUBLIC]
        if not hidden:
            self._problem(REFERENCE, f"the folder has no test_*.py besides {PUBLIC}", at=self.folder)
        has_public = (self.folder / PUBLIC).is_file()
        public = self._tests([PUBLIC], entry_point) if has_public else self._examples(text, entry_point)
        hidden_checks = self._tests(hidden, entry_point)
        wrong = tuple(self._text(path.name) for path in sorted(self.folder.glob("wrong_*.py")))
        if len(self.problems) > self.n_earlier_problems or node is None:
            raise _UnreadableError
        return Task(
            id=f"{set_name}/{self.folder.name}".strip("/").replace(" ", "-"),
            domain="python",
            statement=_without_heading(text),
            entry_point=node.name,
            starter_code=starter_of(reference, node),
            public=public,
            hidden=hidden_checks,
            reference=reference,
            wrong=wrong,
            source=set_name or self.folder.name,
        )

    def _text(self, name: str) -> str:
        """Return the text of a file, or an empty string if it cannot be read."""
        try:
            text = read_text(self.folder / name)
        except ValueError as error:
            self._problem(name, str(error))
            return ""
        if not text.strip():
            self._problem(name, "the file is empty")
        return text

    def _entry(self, reference: str) -> ast.FunctionDef | ast.ClassDef | None:
        """Return what is tested: the function or class that is named like the folder, or else the only public one."""
        try:
            body = parsed(reference).body
        except ValueError as error:
            self._problem(REFERENCE, str(error))
            return None
        public = {
            node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        }
        named = public.get(re.sub(r"\W", "_", self.folder.name))
        if named is None and len(public) == 1:
            return next(iter(public.values()))
        if named is None and reference.strip():
            names = ", ".join(public) or "none"
            needed = "a single public function or class, or one named like the folder, is needed"
            self._problem(REFERENCE, f"defines {names}, but {needed}")
        return named

    def _tests(self, names: list[str], entry_point: str) -> Checks:
        """Return checks that run all tests of these files. ``entry_point`` is empty if it is not known."""
        sources = [(name, text) for name in names if (text := self._text(name)).strip()]
        checks = []
        for name, text in sources:
            try:
                suite = Suite(text)
            except SyntaxError as error:
                self._problem(name, f"line {error.lineno or 1}: not valid Python: {error.msg}")
                continue
            except ValueError as error:
                self._problem(name, str(error))
                continue
            name_of = sole_name(suite.imports, entry_point)
            refusals = suite.refusals(name_of if entry_point else None)
            for refusal in refusals:
                self._problem(name, refusal)
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
            self._problem(STATEMENT, str(error))
            return Checks()

    def _problem(self, name: str, what: str, at: Path | None = None) -> None:
        """Add a problem of the file ``name``, or of the path ``at``. A text "line 3: ..." is added as ``file:3: ...``."""
        place = str(at or self.folder / name)
        line = re.match(r"line (\d+): ", what)
        self.problems.append(f"{place}:{line[1]}: {what[line.end() :]}" if line else f"{place}: {what}")


def _without_heading(text: str) -> str:
    """Return a statement without a heading in its first line, unless the heading is all of it."""
    first, _, rest = text.strip().partition("\n")
    return rest.strip() if first.startswith("#") and rest.strip() else text.strip()
