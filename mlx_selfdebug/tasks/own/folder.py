"""Read a folder of tasks, in which each task is a folder of its own:

    my_tasks/double/task.md          what is asked; a heading in its first line is not part of it
                    reference.py     a complete answer; what it defines under the folder's name, or alone, is tested
                    test_public.py   tests that may be shown; without it, the examples (>>>) in task.md are
                    test_*.py        tests that score, for pytest or unittest (translating/unittests.py says what is supported);
                                     *_test.py and tests.py are read as well
                    wrong_*.py       answers that must not pass, if there are any

A folder that holds a task.md itself is read as a single task. Every test of a task is run. If one cannot be, the task is refused,
with the names of the tests and the reasons.
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
    """Return the tasks in the order of their folders' names. Raises TaskError with everything that is wrong with any of them."""
    if (folder / STATEMENT).is_file():
        folders = [folder]
    else:
        # A folder with only one of the two files is a task with something missing.
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
            continue
    raise_problems(folder, problems)
    return tasks


class _UnreadableError(Exception):
    """The error of a task that cannot be read. The reasons are in the list of problems."""


class _Reader:
    def __init__(self, folder: Path, problems: list[str]) -> None:
        self.folder, self.problems = folder, problems
        self.n_before = len(problems)

    def task(self, set_name: str) -> Task:
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
        checks = self._tests(hidden, entry_point)
        wrong = tuple(self._text(path.name) for path in sorted(self.folder.glob("wrong_*.py")))
        if len(self.problems) > self.n_before or node is None:
            raise _UnreadableError
        return Task(
            id=f"{set_name}/{self.folder.name}".strip("/").replace(" ", "-"),
            domain="python",
            statement=_without_heading(text),
            entry_point=node.name,
            starter_code=starter_of(reference, node),
            public=public,
            hidden=checks,
            reference=reference,
            wrong=wrong,
            source=set_name or self.folder.name,
        )

    def _text(self, name: str) -> str:
        try:
            text = read_text(self.folder / name)
        except ValueError as error:
            self._problem(name, str(error))
            return ""
        if not text.strip():
            self._problem(name, "the file is empty")
        return text

    def _entry(self, reference: str) -> ast.FunctionDef | ast.ClassDef | None:
        """Return the only public function or class, or the one that is named like the folder."""
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
        sources = [(name, text) for name in names if (text := self._text(name)).strip()]
        made = []
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
                made.append(Checks.from_source(suite.source(name_of)))
        return joined(made)

    def _examples(self, text: str, entry_point: str) -> Checks:
        if ">>>" not in text:
            return Checks()
        try:
            return Checks.from_asserts(doctest_statements(text, entry_point))
        except (ValueError, SyntaxError) as error:
            self._problem(STATEMENT, str(error))
            return Checks()

    def _problem(self, name: str, what: str, at: Path | None = None) -> None:
        what = re.sub(r"^line (\d+): ", r"\1: ", what)
        place = str(at or self.folder / name)
        self.problems.append(f"{place}:{what}" if what[:1].isdigit() else f"{place}: {what}")


def _without_heading(text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    return rest.strip() if first.startswith("#") and rest.strip() else text.strip()
