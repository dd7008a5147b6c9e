"""Copies: when a repair or a fork that only writes a known program again is ended, and which program it then is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.copies import copied_program, lexical, repeats, returns_to_known_program

PYTHON = domain_of("python")
CODE = '''def f(numbers):
    """Sum them."""
    total = 0  # so far
    for n in numbers:
        total -= n
    return total
'''


def test_comments_docstrings_and_layout_are_no_lexical_tokens() -> None:
    bare = "def f(numbers):\n    total = 0\n\n    for n in numbers:\n        total -= n\n    return total"
    assert lexical(bare, PYTHON) == lexical(CODE, PYTHON)


def test_a_string_that_is_no_docstring_is_a_lexical_token() -> None:
    for code in ('x = [\n    "a",\n    "b"\n]', 'x = {"a":\n    "b"\n}', 'def f():\n    return "a"'):
        assert '"a"' in lexical(code, PYTHON)
    assert '"b"' in lexical('x = {"a":\n    "b"\n}', PYTHON)


def cut(ended: Callable[[str], bool], text: str) -> str:
    """The text up to the line at whose end it is ended; all of it if it never is."""
    lines = text.splitlines(keepends=True)
    return next((said for i in range(len(lines)) if ended(said := "".join(lines[: i + 1]))), text)


def lines_of(text: str, n: int) -> str:
    return "".join(text.splitlines(keepends=True)[:n])


def test_a_fork_that_changed_a_comment_is_cut_after_one_more_line() -> None:
    text = CODE.replace("# so far", "# nothing yet")
    ended = returns_to_known_program(CODE, [], PYTHON, after=CODE.index("so far"))
    assert cut(ended, text) == lines_of(text, 4)


def test_a_fork_that_changed_layout_is_cut_at_the_next_line_of_code() -> None:
    text = CODE.replace("  # so far\n", "\n\n    # now add\n")
    ended = returns_to_known_program(CODE, [], PYTHON, after=CODE.index("  # so far"))
    assert cut(ended, text) == lines_of(text, 6)


def test_a_fork_that_changed_a_docstring_is_cut_once_a_line_of_code_has_followed_it() -> None:
    text = CODE.replace("Sum them.", "Add all\n    of them:\n\n    up to the last.\n    ")
    ended = returns_to_known_program(CODE, [], PYTHON, after=CODE.index("Sum"))
    assert cut(ended, text) == lines_of(text, 7)
    assert text.splitlines()[6].startswith("    total = 0")


def test_a_fork_that_dropped_a_docstring_is_cut() -> None:
    text = CODE.replace('    """Sum them."""\n', "")
    ended = returns_to_known_program(CODE, [], PYTHON, after=CODE.index('"""'))
    assert cut(ended, text) == lines_of(text, 3)


def test_a_fork_whose_own_line_says_something_else_is_not_cut() -> None:
    text = CODE.replace("total = 0", "total = 1")
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=CODE.index("0")), text) == text


def test_a_fork_whose_next_line_says_something_else_is_not_cut() -> None:
    text = CODE.replace("# so far", "# all of them").replace("for n in numbers", "for n in sorted(numbers)")
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=CODE.index("so far")), text) == text


def test_a_fork_that_breaks_a_line_off_is_not_cut_before_the_next_one_is_known() -> None:
    text = CODE.replace("total -= n\n", "total\n        total += n\n")
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=CODE.index(" -= n")), text) == text


def test_a_fork_is_not_cut_before_the_last_place_where_the_model_would_leave_the_program() -> None:
    text = CODE.replace("# so far", "# nothing yet")
    after, wished = CODE.index("so far"), CODE.index("-= n") + 1
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=after, greedy_from=wished), text) == lines_of(text, 5)
    right = text.replace("-=", "+=")
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=after, greedy_from=wished), right) == right


def test_a_fork_that_falls_into_an_earlier_fork_is_cut_once_both_have_left_the_program() -> None:
    earlier = CODE.replace("-=", "+=").replace("return total", "return int(total)")
    text = earlier.replace("# so far", "# nothing yet")
    ended = returns_to_known_program(CODE, [earlier], PYTHON, after=CODE.index("so far"), greedy_from=len(CODE))
    assert cut(ended, text) == lines_of(text, 5)


def test_a_fork_does_not_fall_into_a_program_whose_first_lines_alone_it_has() -> None:
    earlier = CODE.replace("return total", "return int(total)")
    text = CODE.replace("# so far", "# nothing yet").replace("-=", "+=")
    assert (
        cut(returns_to_known_program(CODE, [earlier], PYTHON, after=CODE.index("so far"), greedy_from=len(CODE)), text)
        == text
    )


def test_a_fork_that_has_written_all_of_a_program_may_still_add_to_it() -> None:
    text = CODE.replace("return total", "return  total") + "    return 0\n"
    assert cut(returns_to_known_program(CODE, [], PYTHON, after=CODE.index("-= n")), text) == text


def test_a_repair_that_wrote_the_failed_program_again_is_cut_when_it_tries_it_out() -> None:
    text = CODE.replace("  # so far", "") + "\n\n# Test cases\nprint(f([1]))\nprint(f([2]))\n"
    assert cut(repeats(CODE, PYTHON), text) == text.removesuffix("print(f([2]))\n")


@pytest.mark.parametrize("more", ["", "\n", "    return total + 1\n", "\ndef g():\n    pass\n", "\nLIMIT = 3\n"])
def test_a_repair_that_may_still_add_what_the_program_lacks_is_not_cut(more: str) -> None:
    assert cut(repeats(CODE, PYTHON), CODE + more) == CODE + more


def test_nothing_is_a_copy_of_an_empty_program() -> None:
    assert cut(repeats("", PYTHON), "\nprint(1)\n") == "\nprint(1)\n"


def test_a_completion_that_was_cut_is_the_program_that_it_began_or_went_on_from() -> None:
    other = CODE.replace("0", "1")
    assert copied_program(lines_of(other, 3), [CODE, other], PYTHON) == other
    assert copied_program(CODE + "print(f([]))\n", [CODE], PYTHON) == CODE
