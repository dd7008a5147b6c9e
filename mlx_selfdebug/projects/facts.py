"""Describe tests of a project and their failures in the form that prompts use: source text, and ``Failure`` values.

The tests are found in the sources of the project by what a run has reported of them (``suite_run.py``). Nothing is run here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import Function, FunctionNode, lines_of
from mlx_selfdebug.projects.suite_run import Frame, TestFacts, TestResult
from mlx_selfdebug.values.verdict import ErrorFact, Failure

MAX_CASES = 2
"""The largest number of parametrized cases of a test function whose parameters are shown."""
MAX_VALUE = 60
"""The largest number of characters that are shown of the value of a parameter."""
_NUMPY_VALUES = re.compile(r"^ *ACTUAL: (.*)\n *DESIRED: (.*)", re.MULTILINE)
"""The two numbers that numpy's assertions put into their messages."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""The address in the default ``repr`` of an object. It differs from run to run and tells a model nothing."""


@dataclass(frozen=True)
class Span:
    """The lines of a project on which the code under test stands."""

    file: str
    """The path of the file, relative to the project's folder."""
    first: int
    """The number of the first line, from 1."""
    last: int
    text: str
    """The text of the whole file."""

    @classmethod
    def of(cls, function: Function) -> Span:
        """Return the lines of a function as it stands in its file."""
        return cls(function.file.name, function.first, function.last, function.file.text)

    def line(self, number: int) -> str:
        """Return a line of the file without indentation, counted from 1, or an empty string if there is no such line."""
        lines = lines_of(self.text)
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def source_of_tests(tests: Sequence[TestResult], root: Path, *, max_tests: int, max_statements: int) -> str:
    """Return the sources of test functions, below comments with the parameters of some of their cases.

    A test that failed is shown up to the statement that failed. Test functions whose source is not found are left out.

    Args:
        tests: The results of the tests. The cases of one parametrized function are shown together.
        root: The folder in which the tests saw the project.
        max_tests: The largest number of test functions that are shown.
        max_statements: The largest number of statements that are shown of each function. They are the last ones.
    """
    cases: dict[str, list[TestResult]] = {}
    for test in tests:
        cases.setdefault(test.id.partition("[")[0], []).append(test)
    texts = [_test_text(cases_of_test, root, max_statements) for cases_of_test in list(cases.values())[:max_tests]]
    return "\n\n".join(text for text in texts if text)


def failure_of(test: TestResult, span: Span, root: Path) -> Failure:
    """Return the facts of a failed test.

    If the test compared two values, the facts are the value that it got and the one that it expected. Otherwise they are the
    exception. The line of the exception is a line of the file: the innermost line of its traceback within ``span``, or 0 if the
    traceback has none there.

    Args:
        test: The result of the test.
        span: The lines of the code under test.
        root: The folder in which the tests saw the project.
    """
    facts = test.facts or TestFacts()
    check = _statement_at(root, _frame_of_test(test))
    parameters = _parameters(test)
    if facts.op == "==":
        got, expected = _got_and_expected(check, facts.left, facts.right)
        return Failure(check, input=parameters, expected=expected, got=got)
    if numbers := _NUMPY_VALUES.search(facts.message):
        got, expected = _got_and_expected(check, numbers[1].strip(), numbers[2].strip())
        return Failure(check, input=parameters, expected=expected, got=got)
    if facts.type == "AssertionError" and check.startswith("assert "):
        return Failure(check, input=parameters, expected="True", got=facts.message.split("\n")[0])
    lines = [frame.line for frame in facts.frames if _is_in(frame, span, root)]
    line = lines[-1] if lines else 0
    message = " ".join(facts.message.split())
    return Failure(check, input=parameters, error=ErrorFact(facts.type, message, line, span.line(line)))


def _test_text(cases: Sequence[TestResult], root: Path, max_statements: int) -> str:
    """Return the source of one test function without comments and docstring, or an empty string if it is not found."""
    test = cases[0]
    tree = _tree(root / test.path) if test.path else None
    name = test.name.partition("[")[0].rpartition(".")[2]
    nodes = [node for node in ast.walk(tree) if isinstance(node, FunctionNode) and node.name == name] if tree else []
    if not nodes:
        return ""
    # Several classes of a file may have a method of this name. The reported line may be that of a decorator.
    node = min(nodes, key=lambda node: abs(node.lineno - test.line))
    last = node.end_lineno or 0
    frame = _frame_of_test(test)
    if frame and node.lineno <= frame.line <= last:
        last = frame.line
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    shown = [statement for statement in body if statement.lineno <= last][-max_statements:] or [ast.Pass()]
    plain = type(node)(**{**vars(node), "body": shown, "decorator_list": [], "returns": None})
    parameters = [_parameters(case) for case in cases[:MAX_CASES] if case.parameters]
    return "\n".join([*(f"# with {text}" for text in parameters), ast.unparse(plain)])


def _parameters(test: TestResult) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in test.parameters.items())


def _short(value: str) -> str:
    """Return the text of a value in one line, without addresses in memory, and cut at ``MAX_VALUE`` characters."""
    text = _ADDRESS.sub("", " ".join(value.splitlines()))
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 4]} ..."


def _frame_of_test(test: TestResult) -> Frame | None:
    """Return the outermost frame of the failure that lies in the test's own file, or None if there is none."""
    frames = test.facts.frames if test.facts else ()
    return next((frame for frame in frames if frame.path == test.path), None)


def _is_in(frame: Frame, span: Span, root: Path) -> bool:
    return frame.path == str(root / span.file) and span.first <= frame.line <= span.last


def _statement_at(root: Path, frame: Frame | None) -> str:
    """Return the source of the simple statement to which the line of a frame belongs, or an empty string if there is none."""
    tree = _tree(root / frame.path) if frame else None
    if tree is None or frame is None:
        return ""
    around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= frame.line <= (n.end_lineno or 0)]
    simple = [node for node in around if not hasattr(node, "body") and not isinstance(node, ast.Match)]
    return ast.unparse(min(simple, key=lambda n: (n.end_lineno or 0) - n.lineno)) if simple else ""


def _got_and_expected(check: str, left: str, right: str) -> tuple[str, str]:
    """Return which of two compared values the program gave and which one was expected, in this order.

    Python does not know, so this is a guess from the source of the comparison: the expected side usually calls nothing, and is a
    value and not a variable. If both sides are alike, the left one is taken for what the program gave.
    """
    sides = _compared(check)
    if len(sides) < 2:
        return left, right
    has_call = [_calls_something(side) for side in sides]
    is_reversed = has_call == [False, True] or (_is_value(sides[0]) and not _is_value(sides[1]))
    return (right, left) if is_reversed else (left, right)


def _compared(check: str) -> Sequence[ast.expr]:
    """Return the expressions that an assert, or a call such as ``assertEqual``, compares; none for another statement."""
    tree = parse(check)
    node = tree.body[0] if tree and tree.body else None
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        return [node.test.left, node.test.comparators[0]]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return node.value.args
    return []


def _calls_something(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call) for inner in ast.walk(node))


def _is_value(node: ast.AST) -> bool:
    """Return whether an expression is neither a plain variable nor calls anything."""
    return not _calls_something(node) and not isinstance(node, ast.Name)


def _tree(path: Path) -> ast.Module | None:
    """Return the syntax tree of a file, or None if it cannot be read or parsed. It is kept until the file changes."""
    try:
        return _tree_at(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError):
        return None


@lru_cache(maxsize=64)
def _tree_at(path: Path, mtime_ns: int) -> ast.Module | None:  # noqa: ARG001
    text = path.read_text("utf-8")
    return parse(text) if text else None
