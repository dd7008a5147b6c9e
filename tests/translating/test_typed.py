"""What a person types as a task: which lines are examples, what they ask for, and what is said of those that cannot be read."""

from __future__ import annotations

import doctest
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.translating import subject, typed
from mlx_selfdebug.translating.subject import Subject, subject_of
from mlx_selfdebug.translating.typed import has_example, read_typed

TRACEBACK = "Traceback (most recent call last):\n  ...\nValueError: negative"


def statements(text: str) -> list[str]:
    return [statement for example in read_typed(text).examples for statement in example.statements]


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(TaskError) as caught:
        subject_of(read_typed(text))
    return caught.value.problems or (str(caught.value),)


@pytest.mark.parametrize("module", [typed, subject])
def test_the_examples_in_the_docstrings_hold(module) -> None:
    assert doctest.testmod(module)[0] == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(2) == 4", ["assert f(2) == 4"]),
        ("  f(2)   ==  4 ", ["assert f(2) == 4"]),
        ("f(2) != 5", ["assert f(2) != 5"]),
        ("f(2) is None", ["assert f(2) is None"]),
        ("4 in f(2)", ["assert 4 in f(2)"]),
        ("not f(2)", ["assert not f(2)"]),
        ("f(2) -> 4", ["assert f(2) == 4"]),
        ("f('a') returns True", ["assert f('a') == True"]),
        ("assert f(2) == 4", ["assert f(2) == 4"]),
        ("assert(f(2) == 4)", ["assert f(2) == 4"]),
        ("f([1,\n   2]) == [\n  1]", ["assert f([1, 2]) == [1]"]),
        (">>> f(2)\n4", ["assert f(2) == 4"]),
        (">>>f(2)\n4", ["assert f(2) == 4"]),
        ("    >>> f(2)\n    4", ["assert f(2) == 4"]),
        (">>> f(2)\n4\n>>> f(3)\n9", ["assert f(2) == 4", "assert f(3) == 9"]),
        (">>> f(2)\n4\nf(3) == 9", ["assert f(2) == 4", "assert f(3) == 9"]),
        (">>> x = 2\n>>> f(x)\n4", ["x = 2", "assert f(x) == 4"]),
        (f">>> f(-1)\n{TRACEBACK}", ["with raises(ValueError, message='negative'):\n    f(-1)"]),
    ],
)
def test_every_form_of_example_is_read(text: str, expected: list[str]) -> None:
    assert statements(text) == expected
    assert has_example(text)


@pytest.mark.parametrize(
    "line",
    [
        "Return twice x.",
        "double(x)",
        "double(x, factor=2)",
        "def double(x: int) -> int:",
        "double(x: int) -> int",
        "double(x) returns twice x.",
        "Asserting is not asked for",
        "Given a list (of numbers, that is), sort it",
        "Hello",
        "a well-known function(x",
    ],
)
def test_words_and_signatures_are_the_statement(line: str) -> None:
    read = read_typed(line)
    assert (read.statement, read.examples) == (line, ())
    assert not has_example(line)


def test_words_may_stand_before_between_and_behind_examples() -> None:
    read = read_typed("First.\nf(1) == 1\nSecond.\n>>> f(2)\n4\n\nThird.")
    assert read.statement == "First.\nSecond.\n\nThird."
    assert [example.line for example in read.examples] == [2, 4]


def test_each_line_that_cannot_be_read_is_named_with_what_is_wrong() -> None:
    found = problems("Double it.\nf(2) == [4\nf(1) == 2\nassert f(\n>>> f(\n4\n\nf(3)")
    assert [text.partition(":")[0] for text in found] == ["line 2", "line 4", "line 5", "line 8"]
    assert "f(2) == [4 does not parse ('[' was never closed)" in found[0]
    assert found[-1] == "line 8: f(3) has no value; write f(3) == VALUE"


@given(st.text(st.sampled_from("f(x)=1 2\n>.'[]assert"), max_size=40))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    with suppress(TaskError):
        read = read_typed(text)
        assert bool(read.examples) == has_example(text)
        subject_of(read)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(2) == 4", Subject("f", "def f(number):")),
        ("f('a', 'b') == 4", Subject("f", "def f(text1, text2):")),
        ("f([1], 'b') == 4\nf([], 'c') == 2", Subject("f", "def f(items, text):")),
        ("f([1]) == 4\nf('ab') == 2", Subject("f", "def f(value):")),
        ("f(2, base=10) == 4", Subject("f", "def f(number, base):")),
        ("f(2) == 4\nf(2, 3) == 5", Subject("f", "")),
        ("f(*[1]) == 4", Subject("f", "")),
        ("f() == 4", Subject("f", "def f():")),
        ("f(x) is twice x.\nf(2) == 4", Subject("f", "def f(x):")),
        ("Write f(2).\nf(2) == 4", Subject("f", "def f(number):")),
        ("def f(x: int) -> int:\nf(2) == 4", Subject("f", "def f(x: int) -> int:")),
        ("sorted(f(2)) == [4]", Subject("f", "def f(number):")),
        ("sum([2]) == 4", Subject("sum", "def sum(items):")),
        (">>> s = Stack()\n>>> s.push(1)\n>>> len(s)\n1", Subject("Stack", "class Stack:")),
        (">>> import math\n>>> f(math.pi)\n3", Subject("f", "def f(value):")),
        ("any(f(x) for x in [1, 2]) == True", Subject("f", "def f(value):")),
        ("Write double(x).", Subject("double", "def double(x):")),
        ("Use print(x) in shout(text).", Subject("shout", "def shout(text):")),
        ("Write something.", Subject("", "")),
    ],
)
def test_the_examples_say_what_is_to_be_written(text: str, expected: Subject) -> None:
    assert subject_of(read_typed(text)) == expected


def test_examples_of_two_functions_are_refused_with_both_lines() -> None:
    assert problems("f(2) == 4\ng(2) == 4") == ("the examples call different functions: f (line 1), g (line 2)",)


def test_examples_that_call_nothing_are_refused() -> None:
    assert "call no function" in problems("assert 2 == 2")[0]


def test_a_name_without_a_value_is_refused_with_its_line() -> None:
    assert problems("f(2) == 4\nf(x) == 2 * x") == ("line 2: x has no value",)
