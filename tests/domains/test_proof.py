"""Proofs as a domain: how they are asked, taken out of a reply, and told."""

from __future__ import annotations

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.proof import theorem_of
from mlx_selfdebug.domains.proving import proof_checks
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.tasks import Task
from tests.proving.test_rocq import needs_rocq

STARTER = "Require Import Arith.\nTheorem add_zero : forall n : nat, n + 0 = n.\n"
CHECKS = proof_checks("add_zero")
TASK = Task("t", "proof", "Zero is neutral.", "add_zero", STARTER, CHECKS, CHECKS)
SCRIPT = "  intros n.\n  apply Nat.add_0_r.\nQed.\n"
DOMAIN = domain_of("proof")


@pytest.mark.parametrize(
    "reply",
    [
        "  intros n.\n  apply Nat.add_0_r.\nQed.\n```",
        "  intros n.\n  apply Nat.add_0_r.\nQed.\n\nThis proves it. QED.",
        "  intros n.\n  apply Nat.add_0_r.\n",
        "  intros n.\n  apply Nat.add_0_r.\nDefined.\n```\nDone.",
        "Theorem add_zero : forall n : nat, n + 0 = n.\nProof.\n  intros n.\n  apply Nat.add_0_r.\nQed.",
        "Here it is:\n```coq\nTheorem add_zero : forall n, n + 0 = n.\nProof.\n  intros n.\n  apply Nat.add_0_r.\nQed.\n```",
        "```coq\nLemma add_zero : forall n : nat, n + 0 = n.\n  intros n.\n  apply Nat.add_0_r.\nQed.\n```",
        "<think>Induction?</think>\n  intros n.\n  apply Nat.add_0_r.\nQed.\n",
        "  intros n.\n  apply Nat.add_0_r.\nQed.\n\nTheorem two : 1 = 1.\nProof.\n  auto.\nQed.\n",
    ],
)
def test_the_script_is_taken_out_of_a_reply(reply: str):
    assert DOMAIN.extract(reply, TASK).code == SCRIPT


def test_a_comment_about_the_proof_is_no_beginning_of_one():
    script = "  intros n.\n  (* Proof by a lemma. *)\n  apply Nat.add_0_r.\nQed.\n"
    assert DOMAIN.extract(script, TASK).code == script


def test_a_completion_gives_its_script_back():
    assert DOMAIN.extract(DOMAIN.completion(SCRIPT), TASK).code == SCRIPT


def test_an_empty_reply_is_an_empty_script():
    assert DOMAIN.extract("", TASK).code == DOMAIN.nothing(TASK)


def test_scripts_that_differ_in_layout_and_comments_alone_are_equal():
    other = "intros   n. (* first *)\napply\n  Nat.add_0_r. Qed."
    assert DOMAIN.normalise(other) == DOMAIN.normalise(SCRIPT)
    assert DOMAIN.normalise("simpl.") != DOMAIN.normalise(SCRIPT)


def test_the_prompt_shows_the_theorem_and_what_stands_before_it():
    prompt = DOMAIN.prompt(TASK)
    assert STARTER.strip() in prompt
    assert TASK.statement in prompt


def test_the_theorem_is_the_last_sentence_of_the_starter_code():
    theorem = theorem_of(TASK)
    assert (theorem.name, theorem.beginning) == ("add_zero", ("Require Import Arith.",))


def test_the_name_of_a_theorem_may_be_followed_by_its_parameters():
    starter = "Theorem add_zero'(n:nat) : n + 0 = n."
    assert theorem_of(Task("t", "proof", "", "add_zero'", starter, CHECKS, CHECKS)).name == "add_zero'"


@needs_rocq
@pytest.mark.parametrize(
    "starter",
    ["", "Require Import Arith.", "Theorem other : True.", "Theorem add_zero : True", "Definition add_zero := 1."],
)
def test_starter_code_without_the_theorem_is_an_error_and_no_failed_proof(starter: str, judge):
    with pytest.raises(UsageError, match="does not end with"):
        judge(Task("t", "proof", "", "add_zero", starter, CHECKS, CHECKS), SCRIPT)


@needs_rocq
def test_a_proof_passes(told):
    assert told(TASK, SCRIPT) == ""


@needs_rocq
def test_the_message_and_the_goals_are_told(told):
    assert told(TASK, "Proof.\n  intros n.\n  reflexivity.\nQed.\n") == (
        'The proof was not accepted at `reflexivity.`: Unable to unify "n" with "n + 0".\n\n'
        "Goals left at that point:\n\nn : nat\n============================\nn + 0 = n"
    )


@needs_rocq
@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("Proof.\nQed.\n", "failed"),
        ("Proof.\n  discriminate.\nQed.\n", "raised"),
        ("Proof.\n  admit.\nQed.\n", "load_error"),
        ("Proof.\nAdmitted.\n", "load_error"),
        ("Proof.\n  auto", "raised"),
        ('Proof.\n  idtac "auto.\nQed.\n', "load_error"),
        ("Proof.\n  repeat (pose proof 1).\nQed.\n", "timeout_wall"),
    ],
)
def test_each_way_to_fail_has_its_outcome(judge, script: str, outcome: str):
    verdict = judge(TASK, script)
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == (outcome, 0, 1)
    assert verdict.isolation == "full"
