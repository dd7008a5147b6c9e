"""Where the final answer stands in a reply of mathematics or of a puzzle."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains.inside.final_answer import final_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (r"First \boxed{5}. That is wrong; it is \boxed{7}.", "7"),
        (r"I put it in \boxed and go on. So \boxed{9}", "9"),
        (r"\boxed{7}. (Put it in \boxed{}.)", "7"),
        (r"\boxed{7} \boxed{\text{answer}} \boxed{...} \boxed{\,} \boxed{\ldots} \boxed{?}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {8} and no more", "8"),
        (r"\fbox{8}", "8"),
        (r"\boxed 9.", "9"),
        (r"\boxed{\boxed{5} }", "5"),
        (r"A stray { and a }. \boxed{5}", "5"),
        (r"The answer is 4. \boxed{5}", "5"),
    ],
)
def test_the_last_box_that_holds_something_is_the_answer(reply: str, answer: str) -> None:
    assert final_answer(reply) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("so it is 4.\n\n**Answer:** 4.", "4"),
        ("**Answer**: 4", "4"),
        ("**Answer: 42** apples", "42 apples"),
        ("*Answer:* 42", "42"),
        ("__Answer__: `5`", "5"),
        ("The answer is **42**.", "42"),
        ("**The answer is 42.**", "42"),
        ("#### 72", "72"),
        ("#### Answer: 4", "4"),
        ("### Final answer\n18 apples", "18 apples"),
        ("**Final Answer**\n\n\\[ 18 \\]", "18"),
        ("Answer\n\n$$x^2$$", "x^2"),
        ("<answer>42</answer>", "42"),
        ("The final answer is $18$.", "18"),
        ("The answer is $x^2+1$, as shown.", "x^2+1"),
        ("The answer is $5 per day.", "$5 per day"),
        ("The answer to the question is: 5.", "5"),
        ("The answer is -3.", "-3"),
        ("Answer: - 3", "- 3"),
        ("Answer = 12", "12"),
        ("The answer is therefore 12.", "12"),
        ("Answer: 5\nAnswer:", "5"),
        ("Answer: 4. No!\nAnswer: 5", "5"),
        ("The answer would be 5.5 because 11/2 is that.", "5.5"),
        ("The answer is 5 (since it is odd).", "5"),
        ("The answer is 2**3.", "2**3"),
        ("The answer is 2 * 3 * 4.", "2 * 3 * 4"),
        ("**Answer:**\n```text\n42\n```", "42"),
        ("Answer:\n```\n42\n```\nIt is even.", "42"),
    ],
)
def test_without_a_box_the_answer_is_what_the_last_announcement_says(reply: str, answer: str) -> None:
    assert final_answer(reply) == answer


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I do not know",
        r"\boxed{}",
        r"\boxed{18",
        r"\boxed{{{}",
        "Answer:",
        "#### ",
        r"\boxed{your answer}",
        "It is 5.",
    ],
)
def test_a_reply_may_have_no_final_answer(reply: str) -> None:
    assert final_answer(reply) is None


@given(st.text(max_size=60), st.integers())
def test_whatever_is_said_before_the_last_box_that_box_is_the_answer(before: str, number: int) -> None:
    assert final_answer(f"{before.rstrip(chr(92))} \\boxed{{{number}}} \\boxed{{}}") == str(number)


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "**a",
        "answer ",
        "answer of ",
        "$",
        "`a",
        "_ ",
        "#",
        " ",
        "\\[ ",
        "answer:",
        "{ ",
        "answer to x ",
        "\n",
    ],
)
def test_no_reply_keeps_the_search_busy_for_long(piece: str) -> None:
    started = time.process_time()
    final_answer(piece * (20_000 // len(piece)))
    assert time.process_time() - started < 30
