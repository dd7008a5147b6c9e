"""The starter set: sound, ours, and short."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from mlx_selfdebug.tasks import Checks, Task, load_tasks
from mlx_selfdebug.tasks.load import STARTER_FOLDER
from mlx_selfdebug.tasks.verify import check_tasks

TASKS = load_tasks("starter")
HUMANEVAL = load_tasks("humaneval")


def asserts(checks: Checks) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(checks.source)) if isinstance(node, ast.Assert)]


def calls(checks: Checks) -> list[str]:
    return [text.partition(" == ")[0] for text in asserts(checks)]


def grams(text: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


class _Normalise(ast.NodeTransformer):
    """Names in order of their appearance; no docstrings, no annotations."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.setdefault(node.id, f"n{len(self.names)}"), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.names.setdefault(node.arg, f"n{len(self.names)}"))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name, node.returns = "f", None
        if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body = node.body[1:]
        return self.generic_visit(node)


def functions(task: Task) -> set[str]:
    tree = ast.parse(task.reference)
    return {ast.dump(_Normalise().visit(node)) for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_40_tasks_and_no_theme_holds_a_quarter_of_them():
    themes = [task.id.split("/")[1] for task in TASKS]
    assert len(TASKS) == 40
    assert max(themes.count(theme) for theme in themes) < 10


def test_an_id_names_the_file_it_is_in():
    found = {f"starter/{path.stem}/" for path in STARTER_FOLDER.glob("*.jsonl")}
    assert {task.id.rpartition("/")[0] + "/" for task in TASKS} == found


def test_every_reference_passes_its_checks_and_doing_nothing_does_not(runner):
    assert check_tasks(TASKS, runner) == []


def test_no_statement_occurs_twice():
    assert len({task.statement for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_task_shows_two_to_four_checks_and_hides_at_least_eight_others(task: Task):
    assert 2 <= len(calls(task.public)) <= 4
    assert len(set(calls(task.hidden))) >= 8
    assert not set(calls(task.hidden)) & set(calls(task.public))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_check_is_a_call_with_literals_and_a_literal_value(task: Task):
    for text in asserts(task.public) + asserts(task.hidden):
        [node] = ast.parse(text).body
        assert isinstance(node, ast.Assert)
        assert isinstance(node.test, ast.Compare)
        assert isinstance(node.test.left, ast.Call)
        for literal in [*node.test.left.args, *node.test.comparators]:
            ast.literal_eval(literal)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_check_never_expects_none(task: Task):
    assert not any(text.endswith("== None") for text in asserts(task.public) + asserts(task.hidden))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_a_task_is_short(task: Task):
    assert len(re.findall(r"[.;:](?:\s|$)", task.statement)) <= 6
    assert len(task.statement) <= 300
    assert 2 <= len(task.reference.splitlines()) <= 16


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_starter_code_is_the_first_line_of_the_reference_with_types(task: Task):
    first = task.reference.splitlines()[0]
    assert task.starter_code == first
    assert "->" in first


def test_no_statement_shares_eight_words_in_a_row_with_humaneval():
    known = {gram for task in HUMANEVAL for gram in grams(task.statement, 8)}
    assert {task.id: shared for task in TASKS if (shared := grams(task.statement, 8) & known)} == {}


def test_no_reference_is_one_of_humaneval_under_other_names():
    known = {function for task in HUMANEVAL for function in functions(task)}
    assert [task.id for task in TASKS if functions(task) & known] == []


def test_no_entry_point_is_one_of_humaneval():
    assert not {task.entry_point for task in TASKS} & {task.entry_point for task in HUMANEVAL}


def test_no_two_tasks_have_the_same_reference():
    seen: dict[str, Any] = {}
    for task in TASKS:
        for function in functions(task):
            assert seen.setdefault(function, task.id) == task.id
