"""A proof script for Lean holds tactics and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.proving.lean_script import MAX_LINES, REFUSED, tactics_of
from mlx_selfdebug.proving.script import MAX_CHARACTERS, ScriptError

from . import hostile_lean

TACTICS = (
    "intro n m", "exact ⟨h.1, h.2⟩", "rcases h with ⟨x, hx⟩ | ⟨y, hy⟩", "simp [Nat.add_comm, ih]", "rw [← h, h'] at *", "omega",
    "induction n with\n  | zero => rfl\n  | succ n ih => simp [ih]", "constructor\n  · exact h₁\n  · exact h₂'", "decide", "exact φ'.symm",
    "have h : 1 + 1 = 2 := by rfl", "calc a = b := h\n  _ = c := h'", "exact fun x => h x ▸ rfl", "refine ⟨2, ?_⟩ <;> simp_all",
    "exact Nat.add_comm a b", "show a ∧ b", "exact absurd h (by simp)", "obtain ⟨k, rfl⟩ := h", "exact h.elim", "next => rfl",
)  # fmt: skip


@pytest.mark.parametrize("script", TACTICS)
def test_tactics_are_taken_as_they_are(script: str):
    assert "\n".join(tactics_of(script)) == script


@pytest.mark.parametrize("name", hostile_lean.REFUSED)
def test_what_is_more_than_tactics_is_refused(name: str):
    with pytest.raises(ScriptError):
        tactics_of(hostile_lean.REFUSED[name])


def test_there_are_at_least_30_hostile_scripts():
    assert len(hostile_lean.REFUSED) >= 30


@pytest.mark.parametrize("word", REFUSED)
def test_a_refused_word_is_found_wherever_it_stands(word: str):
    for script in (
        word,
        f"simp [{word}]",
        f"exact Nat.{word}",
        f"exact {word}.symm",
        f"rfl\n  {word} x",
        f"rfl;{word}",
        f"(₁{word})",
    ):
        with pytest.raises(ScriptError):
            tactics_of(script)


def test_lines_keep_their_numbers_and_lose_their_comments_and_their_common_indentation():
    script = '    intro n -- sorry\n\n    /- sorry\n /- " -/ -/\n      simp\n'
    assert tactics_of(script) == ["intro n", "", "", "", "  simp"]


def test_a_refusal_says_where_and_why():
    with pytest.raises(ScriptError, match="sorry is not allowed: it admits a goal without a proof") as raised:
        tactics_of("intro n\n  sorry\n")
    assert (raised.value.line, raised.value.source) == (2, "sorry")
    with pytest.raises(ScriptError, match="the character 0x9 is not allowed"):
        tactics_of("\trfl")
    with pytest.raises(ScriptError, match="let rec is not allowed") as raised:
        tactics_of("rfl\nlet\n rec x")
    assert raised.value.line == 2


@pytest.mark.parametrize("script", ["a" * (MAX_CHARACTERS + 1), "rfl\n" * (MAX_LINES + 1)])
def test_what_is_too_long_is_refused(script: str):
    with pytest.raises(ScriptError, match="at most"):
        tactics_of(script)


PIECES = st.sampled_from(
    ["--", "/-", "-/", '"', "'", "a", "é", "₁", " ", "\n", "1", "axiom", "'a'", "#", "@", "[", "·"]
)


@given(st.lists(PIECES, max_size=20).map("".join))
def test_any_text_is_read_or_refused_and_no_comment_or_command_is_left(text: str):
    try:
        lines = tactics_of(text)
    except ScriptError:
        return
    kept = "\n".join(lines)
    assert not [sign for sign in ("--", "/-", '"', "#", "@[") if sign in kept]
    assert re.search(r"(?<![A-Za-z0-9_'])axiom(?![A-Za-z0-9_'])", kept) is None
