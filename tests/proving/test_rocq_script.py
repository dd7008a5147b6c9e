"""A proof script holds tactics and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.proving.rocq_script import MAX_SENTENCES, tactics_of
from mlx_selfdebug.proving.script import MAX_CHARACTERS, ScriptError

from .hostile import REFUSED

TACTICS = (
    "intros n m.", "(reflexivity).", "all: auto.", "1-2, 4: lia.", "!: idtac.", "[left]: exact I.", "[> auto | lia].",
    "induction n as [| n IH].", "destruct b; reflexivity.", "rewrite <- H, IH in *.", "now apply H.", "exists 6.",
    "match goal with |- _ = _ => reflexivity end.", "- simpl.", "-- simpl.", "{ auto. }", "2: { auto. }",
    "assert (H : 1 = 1) by reflexivity.", "let x := fresh in intros x.", 'idtac "Admitted. admit".',
)  # fmt: skip


@pytest.mark.parametrize("script", TACTICS)
def test_tactics_bullets_and_braces_are_taken(script: str):
    assert "".join(" ".join(sentence.text for sentence in tactics_of(script)).split()) == "".join(script.split())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_tactic_is_refused(name: str):
    with pytest.raises(ScriptError):
        tactics_of(REFUSED[name])


def test_there_are_at_least_30_hostile_scripts():
    assert len(REFUSED) >= 30


@pytest.mark.parametrize("begin", ["", "Proof.\n", "Proof .\n"])
@pytest.mark.parametrize("end", ["", "\nQed.", "\nDefined.\n", "\nQed .\n"])
def test_the_words_around_a_proof_may_stand_there_or_not(begin: str, end: str):
    assert [sentence.text for sentence in tactics_of(f"{begin}auto.{end}")] == ["auto."]


@pytest.mark.parametrize("script", ["auto. Proof. auto.", "Qed. auto.", "Proof. Proof.", "Qed. Qed."])
def test_the_words_around_a_proof_stand_nowhere_else(script: str):
    with pytest.raises(ScriptError):
        tactics_of(script)


def test_a_refusal_says_where_and_why():
    with pytest.raises(ScriptError, match="admit is not allowed: it admits a goal without a proof") as raised:
        tactics_of("intros.\n  admit.\n")
    assert (raised.value.line, raised.value.source) == (2, "admit.")


@pytest.mark.parametrize("script", ["a" * MAX_CHARACTERS + ".", "auto. " * (MAX_SENTENCES + 1)])
def test_what_is_too_long_is_refused(script: str):
    with pytest.raises(ScriptError, match="at most"):
        tactics_of(script)


@given(st.text(alphabet='Aa.(*){}-:1[]|" \n\u00a0', max_size=30))
def test_any_text_is_read_or_refused_and_no_sentence_begins_with_a_capital_letter(text: str):
    try:
        sentences = tactics_of(text)
    except ScriptError:
        return
    assert not [sentence for sentence in sentences if sentence.text.lstrip("-+*{}: 1[]").startswith("A")]
