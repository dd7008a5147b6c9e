"""Rocq judges proofs in a confined process that stays warm."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.proving import rocq as rocq_module
from mlx_selfdebug.proving.rocq import Rocq, installation, open_rocq
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem

from .hostile import FAIL, REFUSED

FALSE = Theorem("false_theorem", "Theorem false_theorem : 1 = 2.")
ADD = Theorem("add_zero", "Theorem add_zero : forall n, n + 0 = n.")
WITH_LISTS = Theorem(
    "nil", "Theorem nil : forall l : list nat, l ++ [] = l.", ("Require Import List.", "Import ListNotations.")
)


def has_rocq() -> bool:
    try:
        installation()
    except UsageError:
        return False
    return True


needs_rocq = pytest.mark.skipif(not has_rocq(), reason="Rocq is not installed: apt install coq")


@pytest.fixture(scope="module")
def rocq() -> Iterator[Rocq]:
    with open_rocq(workers=2) as checker:
        yield checker


def check(rocq: Rocq, theorem: Theorem, script: str, wall_s: float = 20) -> CheckedProof:
    return rocq.check(theorem, script, wall_s).result(120)


@needs_rocq
def test_a_proof_is_accepted(rocq: Rocq):
    assert check(rocq, ADD, "induction n; simpl; auto.").proved


@needs_rocq
def test_a_theorem_whose_name_ends_with_a_prime_can_be_proved(rocq: Rocq):
    assert check(
        rocq, Theorem("add_zero'", "Theorem add_zero' : forall n, n + 0 = n."), "induction n; simpl; auto."
    ).proved


@needs_rocq
def test_the_sentence_that_fails_is_told_with_the_goals_before_it(rocq: Rocq):
    proof = check(rocq, ADD, "Proof.\n  intros n.\n  reflexivity.\nQed.\n")
    assert (proof.proved, proof.line, proof.source) == (False, 3, "reflexivity.")
    assert proof.message == 'Unable to unify "n" with "n + 0".'
    assert proof.goals == ("n : nat\n" + "=" * 28 + "\nn + 0 = n",)


@needs_rocq
def test_goals_that_are_left_at_the_end_are_told(rocq: Rocq):
    proof = check(rocq, ADD, "induction n.")
    assert proof.message == "Attempt to save an incomplete proof"
    assert (proof.line, proof.source, proof.n_goals) == (0, "", 2)


@needs_rocq
def test_a_sentence_that_cannot_be_parsed_fails_after_those_before_it(rocq: Rocq):
    assert check(rocq, ADD, "exact I.\ninduction n )).").line == 1
    proof = check(rocq, ADD, "intros n.\ninduction n )).")
    assert (proof.line, proof.goals) == (2, ("n : nat\n" + "=" * 28 + "\nn + 0 = n",))
    assert proof.message.startswith("Syntax error")


@needs_rocq
def test_each_theorem_sees_its_own_imports_and_definitions(rocq: Rocq):
    assert check(rocq, WITH_LISTS, "induction l; simpl; congruence.").proved
    assert not check(rocq, ADD, "exact (app_nil_r n).").proved
    two = Theorem("two", "Theorem two : double 1 = 2.", ("Definition double (n : nat) := n + n.",))
    assert check(rocq, two, "reflexivity.").proved
    assert "double" in check(rocq, ADD, "unfold double.").message


@needs_rocq
def test_nothing_is_left_of_a_proof_for_the_next_one(rocq: Rocq):
    named = Theorem("helper", "Theorem helper : 1 = 1.")
    assert check(rocq, named, "reflexivity.").proved
    assert not check(rocq, ADD, "exact helper.").proved
    assert check(rocq, named, "reflexivity.").proved


@needs_rocq
@pytest.mark.parametrize("name", FAIL)
def test_a_hostile_script_that_the_checker_sees_fails(rocq: Rocq, name: str):
    assert not check(rocq, FALSE, FAIL[name], wall_s=2).proved


@needs_rocq
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_script_would_also_fail_in_the_checker(rocq: Rocq, name: str, monkeypatch: pytest.MonkeyPatch):
    """The words of a script are not the only thing that a false proof has to get past."""
    sentence = rocq_module.tactics_of("idtac.")[0]
    sentences = [type(sentence)(text.strip() + ".", 1) for text in REFUSED[name].rstrip(".").split(". ")]
    monkeypatch.setattr(rocq_module, "tactics_of", lambda _: sentences)
    assert not check(rocq, FALSE, "", wall_s=5).proved
    monkeypatch.undo()
    assert check(rocq, ADD, "induction n; simpl; auto.").proved


@needs_rocq
def test_a_proof_takes_no_longer_than_it_may(rocq: Rocq):
    began = time.monotonic()
    assert check(rocq, ADD, "repeat (pose proof 1).", wall_s=0.5).ending == "timed_out"
    assert time.monotonic() - began < 10
    assert check(rocq, ADD, "induction n; simpl; auto.").proved


@needs_rocq
def test_an_axiom_is_refused_unless_it_is_allowed(rocq: Rocq):
    statement, beginning = "Theorem t : forall P : Prop, P \\/ ~ P.", ("Require Import Classical.",)
    proof = check(rocq, Theorem("t", statement, beginning), "intros P. apply classic.")
    assert proof.message == "the proof rests on classic, which may not be assumed"
    assert check(rocq, Theorem("t", statement, beginning, frozenset({"classic"})), "intros P. apply classic.").proved


@needs_rocq
@pytest.mark.parametrize(
    "beginning",
    [
        "Axiom absurd : False.", "Parameter absurd : False.", "Conjecture absurd : False.", "Theorem absurd : False. Admitted.",
        "Module M. Axiom absurd : False. End M. Import M.", "Unset Guard Checking. Fixpoint absurd (n : nat) : False := absurd n.",
    ],
)  # fmt: skip
def test_an_axiom_before_the_theorem_is_refused_too(rocq: Rocq, beginning: str):
    sentences = tuple(text.strip() + "." for text in beginning.rstrip(".").split(". "))
    theorem = Theorem("false_theorem", FALSE.statement, sentences)
    proof = check(rocq, theorem, "destruct (absurd 0)." if "nat" in beginning else "destruct absurd.")
    assert "rests on" in proof.message


@needs_rocq
def test_a_theorem_that_cannot_be_read_is_no_failed_proof(rocq: Rocq):
    with pytest.raises(UsageError, match="Rocq cannot read the theorem t: "):
        check(rocq, Theorem("t", "Theorem t : 1 +."), "auto.")
    with pytest.raises(UsageError, match="Nowhere"):
        check(rocq, Theorem("t", "Theorem t : True.", ("Require Import Nowhere.",)), "auto.")


@needs_rocq
def test_checks_made_at_the_same_time_do_not_disturb_each_other(rocq: Rocq):
    scripts = [
        "induction n; simpl; auto.",
        "reflexivity.",
        "simpl.",
        "induction n as [| n IH]; simpl; [auto | rewrite IH; auto].",
    ]
    futures = [rocq.check(ADD, script) for _ in range(15) for script in scripts]
    assert [future.result(60).proved for future in futures] == [True, False, False, True] * 15


@needs_rocq
def test_a_checker_that_is_lost_is_started_again(rocq: Rocq, monkeypatch: pytest.MonkeyPatch):
    with open_rocq(workers=1) as alone:
        worker = alone._workers[0]
        monkeypatch.setattr(worker._session, "receive", lambda *_: None)
        assert check(alone, ADD, "induction n; simpl; auto.").proved


@needs_rocq
def test_a_checker_that_is_lost_again_and_again_is_no_failed_proof(monkeypatch: pytest.MonkeyPatch):
    with open_rocq(workers=1) as alone:
        monkeypatch.setattr(type(alone._workers[0]._session), "receive", lambda *_: None)
        with pytest.raises(SandboxError, match="lost twice"):
            check(alone, ADD, "auto.")


def test_a_machine_without_rocq_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    installation.cache_clear()
    with pytest.raises(UsageError, match="Rocq is not installed") as raised:
        installation()
    installation.cache_clear()
    assert raised.value.hint == "apt install coq, or brew install rocq"
