"""Interactive sessions as checks, judged by the real runner."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.translating.doctests import doctest_statements
from mlx_selfdebug.values.checks import Checks


@pytest.fixture(scope="module")
def runner():
    with TestRunner(workers=2, limits=Limits(wall_s=60, cpu_s=60)) as runner:
        yield runner


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        (">>> f(2)\n4", ["assert f(2) == 4"]),
        (">>> f(2)\nTrue", ["assert f(2) is True"]),
        (">>> f(2) == 4\nTrue", ["assert (f(2) == 4) is True"]),
        (">>> f(2) == 5\nFalse", ["assert (f(2) == 5) is False"]),
        (">>> f(2) in (4, 5) or None\nTrue", ["assert (f(2) in (4, 5) or None) is True"]),
        (">>> f(2) if f(1) else 0\n4", ["assert (f(2) if f(1) else 0) == 4"]),
        (">>> not f(2)\nTrue", ["assert (not f(2)) is True"]),
        (">>> f(2) or None\n", ["assert (f(2) or None) is None"]),
        (">>> f(2)\n[1,\n 2]", ["assert f(2) == [1, 2]"]),
        (">>> x = 2\n>>> f(x)\n4", ["x = 2", "assert f(x) == 4"]),
        (">>> from shapes import f\n>>> import math\n>>> f(math.pi)\n4", ["import math", "assert f(math.pi) == 4"]),
        (">>> import math, shapes\n>>> shapes.f(math.pi)\n4", ["import math", "assert f(math.pi) == 4"]),
        (">>> from shapes import f as g\n>>> g(2)\n4", ["assert f(2) == 4"]),
        (">>> f(1)  # doctest: +SKIP\n3\n>>> f(2)\n4", ["assert f(2) == 4"]),
        (">>> f(2)\n\n", ["assert f(2) is None"]),
        (">>> f(2)\n<Stack>", ["assert shows(repr(f(2)), '<Stack>\\n')"]),
        (">>> f(2) # doctest: +ELLIPSIS\n[1, ..., 9]", ["assert shows(repr(f(2)), '[1, ..., 9]\\n')"]),
        (">>> print(f(2))\n4", ["assert shows(str(f(2)), '4\\n')"]),
        (">>> print(1, f(2))\n1 4", ["assert shows(' '.join(map(str, [1, f(2)])), '1 4\\n')"]),
        (">>> f(-1)\nTraceback (most recent call last):\n  ...\nValueError: negative", ["with raises(ValueError, message='negative'):\n    f(-1)"]),
        (">>> f(-1)\nTraceback (most recent call last):\nmine.Own: no ...", ["with raises('mine.Own'):\n    f(-1)"]),
        (">>> for x in [1]:\n...     f(x)\n4", ["for x in [1]:\n    f(x)"]),
    ],
)  # fmt: skip
def test_an_example_becomes_a_statement(text: str, statements: list[str]):
    assert doctest_statements(text) == statements


@pytest.mark.parametrize("text", ["no examples", ">>> f(\n4"])
def test_what_has_no_examples_is_refused(text: str):
    with pytest.raises(ValueError, match="example"):
        doctest_statements(text)


def test_a_session_with_an_object_is_judged(runner: TestRunner):
    checks = Checks.from_doctest(
        """
        A stack.

        >>> s = Stack()
        >>> s.push(3)
        >>> s.items
        [3]
        >>> s
        Stack([3])
        >>> s.pop()
        3
        >>> s.pop()
        Traceback (most recent call last):
            ...
        IndexError: pop from empty list
        """
    )
    source = "class Stack:\n  def __init__(s): s.items = []\n  def push(s, x): s.items.append(x)\n  def pop(s): return s.items.pop()\n"
    assert runner.run(source + "  def __repr__(s): return f'Stack({s.items})'\n", checks, "Stack").passed
    failure = runner.run(source + "  def __repr__(s): return 'nothing'\n", checks, "Stack").failures[0]
    assert (failure.expected, failure.expected_kind, failure.got) == ("Stack([3])", "text", "nothing")


def test_another_message_fails(runner: TestRunner):
    checks = Checks.from_doctest(">>> f(1)\nTraceback (most recent call last):\nValueError: no")
    assert runner.run("def f(x): raise ValueError('no')", checks, "f").passed
    verdict = runner.run("def f(x): raise ValueError('yes')", checks, "f")
    assert (verdict.outcome, verdict.failures[0].expected_kind) == ("raised", "raises")


def test_an_exception_of_the_programs_own_is_known_by_name(runner: TestRunner):
    checks = Checks.from_doctest(">>> f(1)\nTraceback (most recent call last):\nmine.EmptyError: no")
    assert runner.run("class EmptyError(Exception): pass\ndef f(x): raise EmptyError('no')", checks, "f").passed


def test_one_does_not_pass_where_a_session_prints_true(runner: TestRunner) -> None:
    checks = Checks.from_doctest(">>> is_even(2)\nTrue\n")
    assert runner.run("def is_even(n): return n % 2 == 0", checks, "is_even").passed
    verdict = runner.run("def is_even(n): return 1", checks, "is_even")
    assert (verdict.outcome, verdict.failures[0].expected, verdict.failures[0].got) == ("failed", "True", "1")


def test_a_comparison_in_a_session_passes_if_its_output_is_right(runner: TestRunner) -> None:
    checks = Checks.from_doctest(">>> f(2) == 4\nTrue\n>>> f(2) == 5\nFalse\n")
    assert runner.run("def f(x): return 2 * x", checks, "f").passed
    assert not runner.run("def f(x): return 3 * x", checks, "f").passed
