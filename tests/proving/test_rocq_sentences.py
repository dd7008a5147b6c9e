"""Rocq source is split into sentences, and comments are removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.proving.rocq_sentences import comments_of, sentences_of, without_comments
from mlx_selfdebug.proving.script import UnreadableError


def texts(source: str) -> list[str]:
    return [sentence.text for sentence in sentences_of(source)]


def test_a_sentence_ends_at_a_period_that_white_space_follows():
    assert texts("apply Nat.add_comm. rewrite H.1 in *.\nauto...") == [
        "apply Nat.add_comm.",
        "rewrite H.1 in *.",
        "auto...",
    ]


def test_bullets_and_braces_are_sentences_of_their_own():
    assert texts("- a.\n-- b.\n+ { c. }\n* 2: { d. }\n[left]: { e. }") == [
        "-", "a.", "--", "b.", "+", "{", "c.", "}", "*", "2: {", "d.", "}", "[left]: {", "e.", "}",
    ]  # fmt: skip


def test_a_period_in_a_string_ends_no_sentence():
    assert texts('idtac "one. two"". three". auto.') == ['idtac "one. two"". three".', "auto."]


def test_comments_are_removed_however_deep_they_are():
    assert texts("auto (* one (* two. *) three. *).(* four *)") == [f"auto {' ' * 27}."]


def test_a_comment_in_a_string_stays():
    assert texts('idtac "(* no comment *)".') == ['idtac "(* no comment *)".']


def test_sentences_know_their_line_and_their_place():
    source = "(* a\ncomment *) one.\n\n  two\n  three."
    assert [(s.line, source[s.begin : s.begin + 3]) for s in sentences_of(source)] == [(2, "one"), (4, "two")]


@pytest.mark.parametrize(
    ("source", "line"), [("auto", 1), ("auto.\n(* one", 2), ('auto.\n\nidtac "one.', 3), ("(* (* *)", 1), ("a.b", 1)]
)
def test_what_does_not_end_is_said_with_its_line(source: str, line: int):
    with pytest.raises(UnreadableError) as raised:
        sentences_of(source)
    assert raised.value.line == line


PIECES = st.sampled_from(["(*", "*)", '"', "a", ".", " ", "\n", "{", "-", '""', "x.y"])


@given(st.lists(PIECES, max_size=20).map("".join))
def test_a_text_is_split_or_refused_and_nothing_but_comments_and_space_is_lost(source: str):
    try:
        sentences = texts(source)
    except UnreadableError:
        return
    kept = without_comments(source)
    assert len(kept) == len(source)
    assert "".join("".join(sentences).split()) == "".join(kept.split())
    assert all(
        source[begin:end].startswith("(*") and source[begin:end].endswith("*)") for begin, end in comments_of(source)
    )
