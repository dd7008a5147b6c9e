"""What is cut from a completion before anything is read in it: thoughts and special tokens, also if they are cut off."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of, fenced_or_whole
from mlx_selfdebug.domains.tidying import plain_text, without_thoughts_and_markers
from mlx_selfdebug.values.task import Task

ENDS = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<|end_of_text|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
]
THOUGHTS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<Thought>", "</Thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|begin_of_thought|>", "<|end_of_thought|>\n<|begin_of_solution|>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
"""What opens and closes the thoughts of models of several families."""
ANSWER = "SELECT name FROM town"
words = st.text(st.characters(codec="ascii", exclude_characters="<>[]'\"`\\"), max_size=30)


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
def test_what_stands_after_a_thought_is_the_answer(opening: str, closing: str) -> None:
    assert fenced_or_whole(f"{opening}\n```sql\nSELECT 1\n```\nNo.\n{closing}\n{ANSWER}\n").code == f"{ANSWER}\n"


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
def test_a_thought_that_the_prompt_began_is_no_answer(opening: str, closing: str) -> None:
    assert fenced_or_whole(f"```sql\nSELECT 1\n```\nNo, not all.{closing}```sql\n{ANSWER}\n```").code == f"{ANSWER}\n"


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
@pytest.mark.parametrize("rest", ["", "\n", "<|im_end|>"])
def test_a_thought_that_nothing_follows_leaves_no_answer(opening: str, closing: str, rest: str) -> None:
    assert fenced_or_whole(f"{opening}\nSELECT 1\n{closing}{rest}").code == "\n"


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
def test_a_thought_that_never_ends_leaves_what_stood_before_it(opening: str, closing: str) -> None:
    assert fenced_or_whole(f"{ANSWER}\n{opening}\nOr SELECT 1").code == f"{ANSWER}\n"


def test_an_empty_thought_is_dropped() -> None:
    assert plain_text("<think>\n\n</think>\n\nIt is 4.").code == "It is 4.\n"


def test_the_last_of_several_thoughts_ends_the_drafts() -> None:
    assert plain_text("<think>a</think>b</think>c<think>d</think>e").code == "ce\n"


@given(words, words)
def test_nothing_of_a_thought_is_in_the_answer(thought: str, answer: str) -> None:
    text = f"<think>{thought} {thought}</think>{answer}"
    assert without_thoughts_and_markers(text).code == answer


@pytest.mark.parametrize("end", ENDS)
def test_a_special_token_ends_the_answer_wherever_it_is_cut_off(end: str) -> None:
    for n in range(2, len(end) + 1):
        assert plain_text(f"{ANSWER}{end[:n]}").code == f"{ANSWER}\n"
        assert plain_text(f"{ANSWER}{end}{end[:n]}\n").code == f"{ANSWER}\n"


@pytest.mark.parametrize(
    "end", ["</s>", "</s", "<end_of_turn>", "<end_of_tu", "<eos>", "\n<", "\n</", "<|im_end|>\n<|im_start|>user\nMore"]
)
def test_a_special_token_without_bars_ends_the_answer_too(end: str) -> None:
    assert plain_text(ANSWER + end).code == f"{ANSWER}\n"


@pytest.mark.parametrize(
    "turn", ["<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<start_of_turn>model\n"]
)
def test_the_opening_of_a_turn_is_no_part_of_the_answer(turn: str) -> None:
    assert plain_text(f"{turn}{ANSWER}<|im_end|>").code == f"{ANSWER}\n"


@pytest.mark.parametrize(
    "answer",
    [
        "SELECT a <b",
        "SELECT '<think>' || a || '</think>'",
        '.a | sub("</s>"; "")',
        "<s>(.*?)</s>",
        "<think>(.*?)</think>",
        "a<|b",
        "<|>",
        "x <",
    ],
)
def test_an_answer_that_only_looks_like_a_tag_stays(answer: str) -> None:
    assert without_thoughts_and_markers(answer).code == answer


@pytest.mark.parametrize("name", ["python", "sql", "duckdb", "math", "reasoning", "pandas", "polars", "regex", "jq"])
def test_no_domain_takes_a_draft_for_the_answer(name: str) -> None:
    said = "<think>\n```\nDRAFT\n```\n\\boxed{DRAFT}\nAnswer: DRAFT"
    assert "DRAFT" not in domain_of(name).extract(said, Task("t", name, "Do it.", "f", "def f(x):")).code


@pytest.mark.parametrize(
    "text", ["<s>" * 20_000, '"' + '\\"' * 30_000, "'" * 60_001, "`a" * 30_001, "<think>" * 10_000, "</think>" * 10_000, "<| " * 30_000, "<|im_start|>" * 5_000]
)  # fmt: skip
def test_no_completion_keeps_the_cutting_busy_for_long(text: str) -> None:
    started = time.process_time()
    without_thoughts_and_markers(text)
    assert time.process_time() - started < 30
