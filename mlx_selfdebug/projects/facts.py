"""Tell what tests do and why they failed: their sources, and the facts of a failed test in the words that prompts use."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import Function, lines_of
from mlx_selfdebug.projects.suite_run import Frame, TestFacts, TestResult
from mlx_selfdebug.values.verdict import ErrorFact, Failure

MAX_CASES = 2
"""The number of cases of one test function of which the parameters are shown."""
MAX_VALUE = 60
"""The largest number of characters that are shown of the value of a parameter."""
_SAID = re.compile(r"^ *ACTUAL: (.*)\n *DESIRED: (.*)", re.MULTILINE)
"""What numpy's assertions say of two numbers."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Span:
    """The lines on which the code under test stands."""

    file: str
    """The path within the project."""
    first: int
    last: int
    text: str
    """The text of the whole file."""

    @classmethod
    def of(cls, function: Function) -> Span:
        return cls(function.file.name, function.first, function.last, function.file.text)

    def line(self, number: int) -> str:
        """Return a line of the file, from 1; "" if there is no such line."""
        lines = lines_of(self.text)
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def source_of_tests(tests: Sequence[TestResult], root: Path, *, max_tests: int, max_statements: int) -> str:
    """Return the sources of some tests with the parameters of some cases, each up to the statement that failed if one did.

    At most ``max_tests`` test functions are shown, and of each at most ``max_statements`` statements, the last ones.
    """
    cases: dict[str, list[TestResult]] = {}
    for test in tests:
        cases.setdefault(test.id.partition("[")[0], []).append(test)
    shown = [_test_text(same, root, max_statements) for same in list(cases.values())[:max_tests]]
    return "\n\n".join(text for text in shown if text)


def _test_text(cases: Sequence[TestResult], root: Path, max_statements: int) -> str:
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
    shown = [statement for statement in body if statement.lineno <= last][-max_statements:] or [ast.Pass()]
    plain = type(node)(**{**vars(node), "body": shown, "decorator_list": [], "returns": None})
    given = [_given(case) for case in cases[:MAX_CASES] if case.parameters]
    return "\n".join([*(f"# with {text}" for text in given), ast.unparse(plain)])


def _given(test: TestResult) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in test.parameters.items())


def _short(value: str) -> str:
    """Return a value as it was written, in one line and without addresses in memory, and cut if it is long."""
    text = _ADDRESS.sub("", " ".join(value.splitlines()))
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


def failure_of(test: TestResult, span: Span, root: Path) -> Failure:
    """Return the facts of a failed test. The line of an error is that of the file, within ``span``, or 0 if it was elsewhere."""
    facts = test.facts or TestFacts()
    check = _statement_at(root, _frame_of_test(test))
    given = _given(test)
    if facts.op == "==":
        got, expected = _got_and_expected(check, facts.left, facts.right)
        return Failure(check, input=given, expected=expected, got=got)
    if said := _SAID.search(facts.message):
        got, expected = _got_and_expected(check, said[1].strip(), said[2].strip())
        return Failure(check, input=given, expected=expected, got=got)
    if facts.type == "AssertionError" and check.startswith("assert "):
        return Failure(check, input=given, expected="True", got=facts.message.split("\n")[0])
    inner = [frame.line for frame in facts.frames if _is_in(frame, span, root)]
    line = inner[-1] if inner else 0
    message = " ".join(facts.message.split())
    return Failure(check, input=given, error=ErrorFact(facts.type, message, line, span.line(line)))


def _frame_of_test(test: TestResult) -> Frame | None:
    frames = test.facts.frames if test.facts else ()
    return next((frame for frame in frames if frame.path == test.path), None)


def _is_in(frame: Frame, span: Span, root: Path) -> bool:
    return frame.path == str(root / span.file) and span.first <= frame.line <= span.last


def _statement_at(root: Path, frame: Frame | None) -> str:
    """Return the whole statement of a test that a line belongs to."""
    tree = _tree(root / frame.path) if frame else None
    if tree is None or frame is None:
        return ""
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= frame.line <= (n.end_lineno or 0)]
    plain = [node for node in around if not hasattr(node, "body")]
    return ast.unparse(min(plain, key=lambda n: (n.end_lineno or 0) - n.lineno)) if plain else ""


def _got_and_expected(check: str, left: str, right: str) -> tuple[str, str]:
    """Return what the program gave and what was expected: mostly the side that calls nothing is the expected one."""
    sides = _compared(check)
    if len(sides) < 2:
        return left, right
    has_call = [any(isinstance(inner, ast.Call) for inner in ast.walk(side)) for side in sides]
    is_reversed = has_call == [False, True] or (_is_value(sides[0]) and not _is_value(sides[1]))
    return (right, left) if is_reversed else (left, right)


def _compared(check: str) -> Sequence[ast.expr]:
    """Return what an assert, or a call such as ``assertEqual``, compares: at least two expressions, or none."""
    tree = parse(check)
    node = tree.body[0] if tree and tree.body else None
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        return [node.test.left, node.test.comparators[0]]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return node.value.args
    return []


def _is_value(node: ast.AST) -> bool:
    return not any(isinstance(inner, ast.Call) for inner in ast.walk(node)) and not isinstance(node, ast.Name)
