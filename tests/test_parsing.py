"""Source is parsed without a word about it, from as many threads as want to."""

from __future__ import annotations

import gc
import threading
import warnings
from collections import Counter

import pytest

from mlx_selfdebug.parsing import literal, parse_expression, parse_quietly

NESTED = "x = " + "(" * 40 + "1" + ")" * 40 + "".join(f"\nif x > {i}:\n    x = [x, {{'a': x}}]" for i in range(60))


class Meeting:
    """Has two threads that parse meet with half a tree each: this one waits for the other, which waits for this one to end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._other_is_there = threading.Event()
        self._first = threading.get_ident()
        self._collections: Counter[int] = Counter()
        self.other = threading.Thread(target=parse_quietly, args=(NESTED,))

    def collecting(self, phase: str, info: dict[str, int]) -> None:
        """Called at each collection of garbage, most of which come while a tree is built."""
        thread = threading.get_ident()
        self._collections[thread] += 1
        if thread == self._first and self._collections[thread] == 300:
            self.other.start()
            self._other_is_there.wait(0.5)
        elif thread != self._first and self._collections[thread] == 337:
            self._other_is_there.set()
            self.ended.wait(0.5)


def test_two_threads_that_build_trees_at_the_same_time_do_not_disturb_each_other() -> None:
    """With ast.parse alone, CPython up to 3.11.7 ends in SystemError: AST constructor recursion depth mismatch."""
    meeting, threshold = Meeting(), gc.get_threshold()
    gc.callbacks.append(meeting.collecting)
    gc.set_threshold(1)
    try:
        tree = parse_quietly(NESTED)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(meeting.collecting)
        meeting.ended.set()
    meeting.other.join()
    assert len(tree.body) == 61


def test_no_warning_is_given_about_the_source() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_quietly("x = '\\d'\n1 is 1\n")


@pytest.mark.parametrize("source", ["def f(", "x = '\0'", "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1"])
def test_source_that_does_not_parse_is_one_of_two_errors(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        parse_quietly(source)


def test_a_literal_has_a_value_and_anything_else_is_an_error() -> None:
    assert literal(" [1, {'a': (2.5, None)}]") == [1, {"a": (2.5, None)}]
    for text in ("f(1)", "x", "1; 2", "", "{[]}", "{{}: 1}"):
        with pytest.raises((SyntaxError, ValueError)):
            literal(text)
    assert parse_expression("f(1)").lineno == 1
