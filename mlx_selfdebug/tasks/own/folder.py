"""Reads a folder of tasks, in which each task is a folder of its own:

    my_tasks/double/task.md          what is asked; a heading in its first line is not part of it
                    reference.py     a complete answer; what it defines under the folder's name, or alone, is tested
                    test_public.py   tests that may be shown; without it, the examples (>>>) in task.md are
                    test_*.py        tests that score, for pytest or unittest (values/unittests.py says what is supported)
                    wrong_*.py       answers that must not pass, if there are any

A folder that holds a task.md itself is read as a single task.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks.own.source import parsed, read_text, starter_of
from mlx_selfdebug.tasks.sets.records import raise_problems
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

STATEMENT, REFERENCE, PUBLIC = "task.md", "reference.py", "test_public.py"
MAX_TASKS = 100_000


def folder_tasks(folder: Path) -> list[Task]:
    """Return the tasks in the order of their folders' names. Raises TaskError with everything that is wrong with any of them."""
    if (folder / STATEMENT).is_file():
        folders = [folder]
    else:
        folders = sorted(path.parent for path in folder.glob(f"*/{STATEMENT}"))[:MAX_TASKS]
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
        hidden = [path.name for path in sorted(self.folder.glob("test_*.py")) if path.name != PUBLIC]
        if not hidden:
            self._problem(REFERENCE, f"the folder has no test_*.py besides {PUBLIC}", at=self.folder)
        public = self._tests([PUBLIC]) if (self.folder / PUBLIC).is_file() else self._examples(text)
        checks = self._tests(hidden)
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

    def _tests(self, names: list[str]) -> Checks:
        sources = [(name, text) for name in names if (text := self._text(name)).strip()]
        made = []
        for name, text in sources:
            try:
                made.append(Checks.from_unittest(text))
            except SyntaxError as error:
                self._problem(name, f"line {error.lineno or 1}: not valid Python: {error.msg}")
            except ValueError as error:
                self._problem(name, str(error))
        return joined(made)

    def _examples(self, text: str) -> Checks:
        if ">>>" not in text:
            return Checks()
        try:
            return Checks.from_doctest(text)
        except (ValueError, SyntaxError) as error:
            self._problem(STATEMENT, str(error))
            return Checks()

    def _problem(self, name: str, what: str, at: Path | None = None) -> None:
        what = re.sub(r"^line (\d+): ", r"\1: ", what)
        place = str(at or self.folder / name)
        self.problems.append(f"{place}:{what}" if what[:1].isdigit() else f"{place}: {what}")


def joined(checks: list[Checks]) -> Checks:
    """Return one set of checks that runs all of ``checks``. The names that each of them defines stay separate."""
    if len(checks) < 2:
        return checks[0] if checks else Checks()
    inner = [
        f"def _module_{n}(candidate):\n{_indented(part.source)}    check(candidate)\n" for n, part in enumerate(checks)
    ]
    calls = "".join(f"    _module_{n}(candidate)\n" for n in range(len(checks)))
    return Checks.from_source("\n".join([*inner, f"def check(candidate):\n{calls}"]))


def _indented(source: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in ast.unparse(parsed(source)).split("\n"))


def _without_heading(text: str) -> str:
    first, _, rest = text.strip().partition("\n")
    return rest.strip() if first.startswith("#") and rest.strip() else text.strip()
