"""Examples in docstrings. An attack on the reader is text that looks like an example and is none."""

from __future__ import annotations

import pytest

from mlx_selfdebug.translating.examples import docstring_asserts


@pytest.mark.parametrize(
    "text",
    [
        ">>> f(2)\n4",
        ">>> f(2) == 4",
        ">>> f(2) == 4\nTrue",
        ">>> f(2) # => 4\n4",
        "f(2) == 4",
        "f(2) = 4",
        "f(2) -> 4",
        "f(2) => 4",
        "f(2)==>4",
        "f(2) ➞ 4",
        "f(2) # => 4",
        "f(2)   # returns 4",
        "f(2) returns 4 # because",
        "f(2) should return 4.",
        "f(2) == 4 (twice two)",
        "f(2) -> 1 + 3 = 4",
        "for f(2) == 4",
        "* f(2) => 4",
        "For x = 2 the output should be 4.",
        "For x = 2, the sum will be odd the result should be 4",
        "Input: 2\nOutput: 4",
        "Input: x = 2\nOutput: 4 # so",
    ],
)
def test_every_notation_gives_the_same_assert(text: str):
    assert docstring_asserts(f"Say more.\n    {text}\n", "f", ("x",)) == ["assert f(2) == 4"]


@pytest.mark.parametrize(
    "text",
    [
        "f(x) == 4",
        "f(2) == n",
        "f(2) > 4",
        "f(2)\n4",
        "f(2)",
        "f(2) == 4 and more",
        "f(2) == 4 == 4",
        "f(2) is 4",
        "f(2) == f(3)",
        "f(2) == 'it",
        "f(*[2]) == 4",
        "f(**{'x': 2}) == 4",
        "f(x=2, x=3) == 4",
        "f(2)(3) == 4",
        ">>> f(2) == 5\nFalse",
        ">>> f(2) == 4\nTraceback (most recent call last):",
        ">>> f(2) == 4\n4",
        ">>> f(2) # => 5\n4",
        "g.f(2) == 4",
        "off(2) == 4",
        ">>> g(f(2))\n4",
        ">>> round(f(2), 1)\n4",
        ">>> f(2) + 1\n4",
        ">>> f(2)\nTraceback (most recent call last):",
        "For y = 2 the output should be 4",
        "For x = 2, y = 3 the output should be 4",
        "Input: x = 2, y = 3\nOutput: 4",
        "Input: two\nOutput: 4",
        "f(2) -> 1 + 3",
        "f(2 == 4",
    ],
)
def test_whatever_is_in_doubt_is_left_out(text: str):
    assert docstring_asserts(f"Say more.\n    {text}\n", "f", ("x",)) == []


def test_a_doctest_without_output_means_none():
    assert docstring_asserts(">>> f([])\n\n>>> f([1])\n1\n", "f", ("x",)) == [
        "assert f([]) == None",
        "assert f([1]) == 1",
    ]


def test_arguments_that_are_named_in_a_call_stay_named():
    assert docstring_asserts("f(y=1, x=2) == 3", "f", ("x", "y")) == ["assert f(y=1, x=2) == 3"]
    assert docstring_asserts(">>> f(1, y=2)\n3\n", "f", ("x", "y")) == ["assert f(1, y=2) == 3"]


def test_the_output_of_a_comparison_ends_where_text_or_the_next_example_follows():
    text = ">>> f(2) == 4\n\nThe number doubled.\n>>> f(3) == 6\n>>> f(4) == 9\nFalse\n"
    assert docstring_asserts(text, "f", ("x",)) == ["assert f(2) == 4", "assert f(3) == 6"]


def test_calls_and_outputs_may_go_over_several_lines():
    text = ">>> f([1,\n  2])\n[1,\n 2]\n>>> f([])\n[]\n"
    assert docstring_asserts(text, "f", ("x",)) == ["assert f([1, 2]) == [1, 2]", "assert f([]) == []"]


def test_brackets_within_texts_do_not_end_a_call():
    assert docstring_asserts("f(')(', \")\") == '('", "f", ("x", "y")) == ["assert f(')(', ')') == '('"]


def test_lower_case_truth_values_are_understood():
    assert docstring_asserts("f(2) => true\nf(3) => false", "f", ("x",)) == [
        "assert f(2) == True",
        "assert f(3) == False",
    ]


def test_each_example_counts_once():
    assert docstring_asserts("f(2) == 4\n>>> f(2)\n4\n", "f", ("x",)) == ["assert f(2) == 4"]


def test_examples_keep_the_order_of_the_text():
    text = "Input: 1\nOutput: 2\nf(0) == 0\n"
    assert docstring_asserts(text, "f", ("x",)) == ["assert f(1) == 2", "assert f(0) == 0"]


def test_an_alias_stands_for_the_function():
    assert docstring_asserts("g(2) == 4", "f", ("x",), alias="g") == ["assert f(2) == 4"]
