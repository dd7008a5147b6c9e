"""Final answers: how they are found and compared, and that what is told never holds the key."""

from __future__ import annotations

import json

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.mathematics import form_of, key_checks
from mlx_selfdebug.domains.reasoning import entry_checks
from mlx_selfdebug.tasks import Task, load_tasks


def task(key: str) -> Task:
    return Task("t", "math", "How many?", "answer", public=key_checks(key), hidden=key_checks(key))


@pytest.mark.parametrize(
    ("reply", "key"),
    [
        (r"so \boxed{18}", "18"),
        (r"\boxed{17} no, \boxed{18}", "18"),
        (r"\boxed{18.0}", "18"),
        (r"\boxed{1,000 dollars}", "1000"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{x^2+2x+1}", "(x+1)^2"),
        ("#### 18", "18"),
        ("The answer is $18.", "18"),
        (r"\boxed{-3}", "-3"),
    ],
)
def test_an_equal_answer_is_right(told, reply, key):
    assert told(task(key), reply) == ""


@pytest.mark.parametrize(
    ("reply", "key"),
    [
        ("I do not know", "18"),
        (r"\boxed{}", "18"),
        (r"\boxed{17}", "18"),
        (r"\boxed{{{}", "1"),
        (r"\boxed{81}", "18"),
        (r"\boxed{\text{none}}", "3"),
        (r"\boxed{9^{9^{9^{9}}}}", "5"),
        ("", "7"),
    ],
)
def test_any_other_is_wrong_and_the_key_is_not_told(told, reply, key):
    said = told(task(key), reply)
    assert said
    assert key not in said.replace(reply, "").replace(reply[7:-1], "")


def test_how_an_answer_was_read_is_told_with_the_form_that_is_expected(told):
    assert told(task("18"), r"\boxed{17}") == (
        "The final answer was read as 17, which is wrong; a whole number is expected."
    )


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("18", "a whole number"),
        ("-2", "a whole number"),
        ("0.5", "a number"),
        ("yes", "a word"),
        ("x+1", "an expression"),
    ],
)
def test_the_form_of_a_key(key, form):
    assert form_of(key) == form


def test_neither_prompt_nor_repair_holds_the_key(told):
    assert "4711" not in domain_of("math").prompt(task("4711"))


def test_an_entry_of_reasoning_gym_is_scored_by_its_own_scorer(told):
    [made] = load_tasks("reasoning-gym:chain_sum,size=1,seed=5")
    assert told(made, made.reference) == ""
    assert "which is wrong" in told(made, "Answer: 1234567")
    assert told(made, "no idea").startswith("No final answer was found")


def test_an_entry_is_kept_as_json():
    checks = entry_checks({"question": "1 + 1?", "answer": "2", "metadata": {"source_dataset": "chain_sum"}})
    assert json.dumps("2") in checks.source
