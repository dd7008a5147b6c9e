"""The starter set: sound, ours, and short."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.auditing.audit import audit_tasks, open_audit_runner
from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.evaluation.overlap import nearest_pairs
from mlx_selfdebug.tasks import Checks, Task, load_tasks
from mlx_selfdebug.tasks.load import STARTER_FOLDER

TASKS = load_tasks("starter")
HUMANEVAL = load_tasks("humaneval")
MBPP = Path(os.environ.get("MLX_SELFDEBUG_TEST_DATA", ""), "mbpp", "mbpp.jsonl")


def asserts(checks: Checks) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(checks.source)) if isinstance(node, ast.Assert)]


def checks_of(checks: Checks) -> list[str]:
    """What each assert looks at, with the statements that lead to it."""
    found, before = [], ""
    for node in ast.parse(checks.source).body[0].body:
        before += ast.unparse(node).partition(" == ")[0] + "\n"
        if isinstance(node, ast.Assert):
            found.append(before)
            before = ""
    return found


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


def test_there_are_200_tasks_and_more_and_no_theme_holds_an_eighth_of_them():
    themes = [task.id.split("/")[1] for task in TASKS]
    assert len(TASKS) >= 200
    assert max(themes.count(theme) for theme in themes) < len(TASKS) / 8


def test_an_id_names_the_file_it_is_in():
    found = {f"starter/{path.stem}/" for path in STARTER_FOLDER.glob("*.jsonl")}
    assert {task.id.rpartition("/")[0] + "/" for task in TASKS} == found


def test_every_reference_passes_its_checks_and_doing_nothing_does_not(runner):
    assert check_tasks(TASKS, runner) == []


def test_hidden_checks_catch_nine_of_ten_mutants_of_every_fourth_task():
    with open_audit_runner(SandboxConfig(workers=2)) as runner:
        audits = audit_tasks(TASKS[::4], runner, mutants=0)
    assert [a.task_id for a in audits if a.problem or a.by_hidden < 0.9 * len(a.runs)] == []


def test_no_statement_occurs_twice():
    assert len({task.statement for task in TASKS}) == len(TASKS)


def test_a_task_shows_two_to_four_checks_and_hides_at_least_eight_others():
    assert [task.id for task in TASKS if not 2 <= len(asserts(task.public)) <= 4] == []
    assert [task.id for task in TASKS if len(set(checks_of(task.hidden))) < 8] == []
    assert [task.id for task in TASKS if set(checks_of(task.hidden)) & set(checks_of(task.public))] == []


def test_a_check_is_an_expression_with_literals_and_a_literal_value_that_is_not_none():
    for task in TASKS:
        for text in asserts(task.public) + asserts(task.hidden):
            [node] = ast.parse(text).body
            assert isinstance(node, ast.Assert)
            assert isinstance(node.test, ast.Compare)
            assert isinstance(node.test.left, ast.Call)
            for literal in [*node.test.left.args, *node.test.comparators]:
                assert ast.literal_eval(literal) is not None


def test_a_task_is_short():
    assert [task.id for task in TASKS if len(task.statement) > 360] == []
    assert [task.id for task in TASKS if len(re.findall(r"[.;:](?:\s|$)", task.statement)) > 8] == []
    assert [task.id for task in TASKS if not 2 <= len(task.reference.splitlines()) <= 30] == []


def test_the_starter_code_is_the_references_signature_with_types():
    for task in TASKS:
        lines = task.starter_code.splitlines()
        assert [
            line.removesuffix(" ...") for line in lines if line.removesuffix(" ...") not in task.reference.splitlines()
        ] == []
        assert all("->" in line for line in lines if "def " in line)


def test_every_class_is_used_through_its_methods():
    classes = [task for task in TASKS if task.starter_code.startswith("class ")]
    assert len(classes) >= 10
    assert [task.id for task in classes if "def __init__" not in task.starter_code] == []


def test_the_difficulty_follows_from_the_measured_pass_rate():
    expected = {task.id: difficulty(task.pass_rate, 8) for task in TASKS if task.pass_rate is not None}
    assert {task.id: task.difficulty for task in TASKS} == expected


def test_60_tasks_and_more_are_mixed():
    assert sum(task.pass_rate is not None and 0 < task.pass_rate < 1 for task in TASKS) >= 60


def difficulty(rate: float, samples: int) -> str:
    return "easy" if rate >= 0.75 else "medium" if rate * samples > 1 else "hard"


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


@pytest.mark.skipif(not MBPP.is_file(), reason="MLX_SELFDEBUG_TEST_DATA names no folder with mbpp/mbpp.jsonl")
@pytest.mark.parametrize("split", ["mbpp", "mbpp-validation", "mbpp-train"])
def test_no_task_is_near_one_of_mbpp(split: str):
    mbpp = load_tasks(f"{split}:{MBPP}")
    known = {gram for task in mbpp for gram in grams(task.statement, 8)}
    assert [task.id for task in TASKS if grams(task.statement, 8) & known] == []
    assert nearest_pairs(TASKS, mbpp, above=0.55) == []
