"""Say what a function of a project is meant to do, as the task that a model reads or answers.

A function in a project has no statement. Its signature, its docstring and the tests that fail stand in for one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.fixing.source import Function
from mlx_selfdebug.fixing.suite_run import Frame, TestResult
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

MAX_TESTS = 1
"""The number of failing test functions that are shown. What is shown is read with every function, which takes time."""
MAX_CASES = 2
"""The number of cases of one test function of which the parameters are shown."""
MAX_STATEMENTS = 4
"""The number of statements that are shown of a test: the one that failed, and those before it."""
MAX_VALUE = 60
"""The largest number of characters that are shown of the value of a parameter."""
MAX_DESCRIPTION = 400
"""The largest number of characters that are shown of a docstring, from its beginning."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
MAX_FACTS = 4
"""The number of failing tests whose facts are kept for prompts."""


def task_of(function: Function, tests: str) -> Task:
    """Return the task of writing ``function``. ``tests`` is the text of tests that it has to pass (``tests_text``)."""
    description = function.description[:MAX_DESCRIPTION]
    shown = f"It is tested like this:\n\n```python\n{tests}\n```" if tests else ""
    return Task(
        id=function.id,
        domain="python",
        statement="\n\n".join(part for part in (shown, description) if part),
        entry_point=function.entry_point,
        starter_code=_signature(function, function.node),
        source="project",
    )


def _signature(function: Function, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the headers of the program and the lines of ``def``, as they are written."""
    lines = function.program.split("\n")
    return "\n".join(lines[: max(node.lineno, node.body[0].lineno - 1)])


def tests_text(tests: Sequence[TestResult], root: Path) -> str:
    """Return the sources of some failing tests, each up to the statement that failed, with the parameters of some cases."""
    cases: dict[str, list[TestResult]] = {}
    for test in tests:
        cases.setdefault(test.id.partition("[")[0], []).append(test)
    shown = [_test_text(same, root) for same in list(cases.values())[:MAX_TESTS]]
    return "\n\n".join(text for text in shown if text)


def _test_text(cases: Sequence[TestResult], root: Path) -> str:
    """Return the source of a test without comments and docstring; "" if it is not found."""
    test = cases[0]
    tree = _tree(root / test.path) if test.path else None
    name = test.name.partition("[")[0].rpartition(".")[2]
    inner = ast.walk(tree) if tree else ()
    nodes = [n for n in inner if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    if not nodes:
        return ""
    node = min(nodes, key=lambda node: abs(node.lineno - test.line))
    frame = _frame_of_test(test)
    last = frame.line if frame and node.lineno <= frame.line <= (node.end_lineno or 0) else node.end_lineno or 0
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    shown = [statement for statement in body if statement.lineno <= last][-MAX_STATEMENTS:] or [ast.Pass()]
    plain = type(node)(**{**vars(node), "body": shown, "decorator_list": [], "returns": None})
    given = [_given(case) for case in cases[:MAX_CASES] if case.parameters]
    return "\n".join([*(f"# with {text}" for text in given), ast.unparse(plain)])


def _given(test: TestResult) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in test.parameters.items())


def _short(value: str) -> str:
    """Return a value as it was written, without addresses in memory, and cut if it is long."""
    text = _ADDRESS.sub("", value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 4]} ..."


@lru_cache(maxsize=64)
def _tree(path: Path) -> ast.Module | None:
    text = _read(path)
    return parse(text) if text else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def verdict_of(tests: Sequence[TestResult], function: Function, root: Path) -> Verdict:
    """Return the facts of failing tests as a verdict on ``function``, for prompts that show them."""
    failures = tuple(_failure(test, function, root) for test in tests[:MAX_FACTS] if test.facts)
    return Verdict("failed", failures, n_checks=len(tests))


def _failure(test: TestResult, function: Function, root: Path) -> Failure:
    facts = test.facts
    assert facts is not None
    check = _statement_at(root, _frame_of_test(test))
    given = _given(test)
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
    tree = _tree(root / frame.path) if frame else None
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
