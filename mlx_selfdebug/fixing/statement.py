"""Say what a function of a project is meant to do, as the task that a model reads or answers.

A function in a project has no statement. Its signature, its docstring and the tests that fail stand in for one.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.fixing.source import Function
from mlx_selfdebug.fixing.suite_run import Frame, TestResult
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

MAX_TESTS = 3
"""The number of failing tests that are shown."""
MAX_TEST_LINES = 24
"""The number of lines that are shown of a test."""


def task_of(function: Function, tests: Sequence[str]) -> Task:
    """Return the task of writing ``function``. ``tests`` are the texts of tests that it has to pass (``test_text``)."""
    parts = [function.description]
    if tests:
        shown = "\n\n".join(tests[:MAX_TESTS])
        parts.append(f"It is tested like this:\n\n```python\n{shown}\n```")
    return Task(
        id=function.id,
        domain="python",
        statement="\n\n".join(part for part in parts if part),
        entry_point=function.entry_point,
        starter_code=_signature(function, function.node),
        source="project",
    )


def _signature(function: Function, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the headers of the program and the lines of ``def``, as they are written."""
    lines = function.program.split("\n")
    return "\n".join(lines[: max(node.lineno, node.body[0].lineno - 1)])


def test_text(test: TestResult, root: Path) -> str:
    """Return the source of a test, cut off after some lines, with the parameters of this case above it; "" if it is not found."""
    tree_text = _read(root / test.path) if test.path else None
    tree = parse(tree_text) if tree_text else None
    if tree is None or tree_text is None:
        return ""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node for node in nodes if node.name == test.name.partition("[")[0].rpartition(".")[2]]
    if not inside:
        return ""
    node = min(inside, key=lambda node: abs(node.lineno - test.line))
    lines = tree_text.split("\n")[node.lineno - 1 : node.end_lineno]
    text = textwrap.dedent("\n".join(lines[:MAX_TEST_LINES]))
    given = ", ".join(f"{name}={value}" for name, value in test.parameters.items())
    return f"# with {given}\n{text}" if given else text


# pytest would otherwise take a function of this name for a test.
test_text.__test__ = False  # type: ignore[attr-defined]


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def verdict_of(tests: Sequence[TestResult], function: Function, root: Path) -> Verdict:
    """Return the facts of failing tests as a verdict on ``function``, for prompts that show them."""
    return Verdict("failed", tuple(_failure(test, function, root) for test in tests if test.facts), n_checks=len(tests))


def _failure(test: TestResult, function: Function, root: Path) -> Failure:
    facts = test.facts
    assert facts is not None
    check = _statement_at(root, _frame_of_test(test))
    given = ", ".join(f"{name}={value}" for name, value in test.parameters.items())
    if facts.op == "==":
        got, expected = _got_and_expected(check, facts.left, facts.right)
        return Failure(check, input=given, expected=expected, got=got)
    if facts.type == "AssertionError":
        return Failure(check, input=given, expected="True", got=facts.message.split("\n")[0])
    inner = [frame for frame in facts.frames if _is_in(frame, function, root)]
    line = inner[-1].line if inner else 0
    lines = function.file.lines
    source = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return Failure(check, input=given, error=ErrorFact(facts.type, facts.message, line, source))


def _frame_of_test(test: TestResult) -> Frame | None:
    frames = test.facts.frames if test.facts else ()
    return next((frame for frame in frames if frame.path == test.path), None)


def _is_in(frame: Frame, function: Function, root: Path) -> bool:
    return frame.path == str(root / function.file.name) and function.first <= frame.line <= function.last


def _statement_at(root: Path, frame: Frame | None) -> str:
    """Return the whole statement of a test that a line belongs to."""
    text = _read(root / frame.path) if frame else None
    tree = parse(text) if text else None
    if tree is None or frame is None:
        return ""
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= frame.line <= (n.end_lineno or 0)]
    plain = [node for node in around if not hasattr(node, "body")]
    return ast.unparse(min(plain, key=lambda n: (n.end_lineno or 0) - n.lineno)) if plain else ""


def _got_and_expected(check: str, left: str, right: str) -> tuple[str, str]:
    """Return what the program gave and what was expected: mostly the side that is written as a value is the expected one."""
    tree = parse(check)
    node = tree.body[0] if tree and tree.body else None
    test = node.test if isinstance(node, ast.Assert) else None
    if isinstance(test, ast.Compare) and _is_value(test.left) and not _is_value(test.comparators[0]):
        return right, left
    return left, right


def _is_value(node: ast.AST) -> bool:
    return not any(isinstance(inner, ast.Call) for inner in ast.walk(node)) and not isinstance(node, ast.Name)
