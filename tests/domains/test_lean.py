"""Proofs in Lean as a domain: how they are asked, taken out of a reply, and told.

They are judged by a stand-in for Lean's command line, which ``tests/proving/test_lean.py`` describes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.lean import theorem_of
from mlx_selfdebug.domains.proving import proof_checks
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.proving.lean import installation
from mlx_selfdebug.tasks import Task
from tests.proving.test_lean import put_stand_in

STARTER = "/-- Sums. -/\ndef two := 2 -- one\n\ntheorem add_comm (a b : Nat) : a + b = b + a\n"
CHECKS = proof_checks("add_comm")
TASK = Task("t", "lean", "Sums commute.", "add_comm", STARTER, CHECKS, CHECKS)
SCRIPT = "  skip\n  exact Nat.add_comm a b\n"
DOMAIN = domain_of("lean")


@pytest.fixture(scope="module", autouse=True)
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_stand_in(tmp_path_factory.mktemp("lean"), monkeypatch)
        yield
    installation.cache_clear()


@pytest.mark.parametrize(
    "reply",
    [
        "  skip\n  exact Nat.add_comm a b\n```",
        "  skip\n  exact Nat.add_comm a b\n```\nThis proves it.",
        "  skip\n  exact Nat.add_comm a b",
        "  skip\n  exact Nat.add_comm a b\n\nThis proves it.",
        "skip\nexact Nat.add_comm a b\n```",
        "skip\n  exact Nat.add_comm a b\n```",
        "    skip\n    exact Nat.add_comm a b\n```",
        "\tskip\n\texact Nat.add_comm a b\n```",
        "by\n  skip\n  exact Nat.add_comm a b\n```",
        ":= by\n  skip\n  exact Nat.add_comm a b\n```",
        "by skip\n   exact Nat.add_comm a b\n```",
        "by skip\n   exact Nat.add_comm a b\n\nThis proves it.",
        "by skip\n   exact Nat.add_comm a b\n#print axioms add_comm\n```",
        "theorem add_comm (a b : Nat) : a + b = b + a := by\n  skip\n  exact Nat.add_comm a b\n```",
        "```lean\nby\n  skip\n  exact Nat.add_comm a b\n```",
        "Here it is:\n```lean\ntheorem add_comm (a b : Nat) : a + b = b + a := by\n  skip\n  exact Nat.add_comm a b\n```",
        "```lean4\nimport Nat\n\nexample (a b : Nat) :\n    a + b = b + a :=\n  by skip\n     exact Nat.add_comm a b\n```\nDone.",
        "```\nskip\nexact Nat.add_comm a b\n```",
        "  skip\n  exact Nat.add_comm a b\n\ntheorem other : True := by\n  trivial\n```",
        "skip\nexact Nat.add_comm a b\n#print axioms add_comm\n```",
        "<think>Induction?</think>\n  skip\n  exact Nat.add_comm a b\n",
        "  skip\n  exact Nat.add_comm a b<|im_end|>",
    ],
)
def test_the_script_is_taken_out_of_a_reply(reply: str):
    assert DOMAIN.extract(reply, TASK).code == SCRIPT


@pytest.mark.parametrize(
    "script",
    [
        SCRIPT,
        "  rfl\n",
        "  induction a with\n  | zero => simp\n  | succ n ih =>\n    rw [ih]\n    simp\n",
        "  constructor\n  · rfl\n  · intro h\n    exact h\n",
        "  simp [Nat.add_comm,\n    Nat.add_assoc]\n",
        "  calc a + b = b + a := Nat.add_comm a b\n    _ = b + a := rfl\n",
        "  -- first\n  have h : a = a := by\n    rfl\n\n  omega\n",
    ],
)
def test_a_completion_gives_its_script_back(script: str):
    assert DOMAIN.extract(DOMAIN.completion(script), TASK).code == script


def test_a_tactic_that_goes_on_is_not_parted():
    assert (
        DOMAIN.extract("induction a with\n  | zero => rfl\n```", TASK).code == "  induction a with\n    | zero => rfl\n"
    )
    assert DOMAIN.extract("constructor\n  · rfl\n```", TASK).code == "  constructor\n    · rfl\n"


def test_a_term_becomes_a_tactic():
    assert DOMAIN.extract("theorem t : 1 = 1 := rfl\n```", TASK).code == "  exact rfl\n"


def test_an_empty_reply_is_a_script_that_does_nothing():
    assert DOMAIN.extract("", TASK).code == DOMAIN.nothing(TASK)
    assert DOMAIN.extract("by\n```", TASK).code == DOMAIN.nothing(TASK)


def test_scripts_that_differ_in_layout_and_comments_alone_are_equal():
    assert DOMAIN.normalise("skip -- first\n\nexact  Nat.add_comm a b") == DOMAIN.normalise(SCRIPT)
    assert DOMAIN.normalise("  a\n    b") != DOMAIN.normalise("  a\n  b")
    assert DOMAIN.normalise("  sorry  x") == "sorry x"


def test_the_prompt_shows_the_theorem_and_what_stands_before_it():
    prompt = DOMAIN.prompt(TASK)
    assert STARTER.strip() in prompt
    assert TASK.statement in prompt
    assert DOMAIN.reply_prefix == "```lean\nby\n"


def test_the_theorem_stands_at_the_end_of_the_starter_code():
    theorem = theorem_of(TASK)
    assert (theorem.name, theorem.statement) == ("add_comm", "theorem add_comm (a b : Nat) : a + b = b + a")
    assert theorem.beginning == ("/-- Sums. -/\ndef two := 2 -- one\n\n",)


@pytest.mark.parametrize(
    ("starter", "said"),
    [
        ("", "does not end with the theorem 'add_comm'"),
        ("def two := 2", "does not end with the theorem 'add_comm', but with 'def two := 2'"),
        ("theorem other : True", "does not end with"),
        ("theorem add_comm : True\ndef two := 2", "does not end with"),
        ("theorem add_comm : True := by", "ends with a proof"),
        ("theorem add_comm : True :=", "ends with a proof"),
        ("theorem add_comm : True := by\n  trivial", "ends with a proof"),
        ("theorem add_comm : True /- one", "cannot be read: a comment does not end"),
    ],
)
def test_starter_code_without_the_theorem_is_an_error_and_no_failed_proof(starter: str, said: str, judge):
    with pytest.raises(UsageError, match=said):
        judge(Task("t", "lean", "", "add_comm", starter, CHECKS, CHECKS), SCRIPT)


def test_a_proof_passes(told):
    assert told(TASK, SCRIPT) == ""


def test_the_message_and_the_goals_are_told(told):
    assert told(TASK, "  skip\n  rfl\n") == (
        "The proof was not accepted at `rfl`: The rfl tactic failed. The left-hand side a + b is not equal to the right-hand side "
        "b + a\n\nGoals left at that point:\n\na b : Nat\n⊢ a + b = b + a"
    )


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("  skip\n", "failed"),
        ("  rfl\n", "raised"),
        ("  sorry\n", "load_error"),
        ("  rfl\n  #print\n", "load_error"),
        ("  exact em p\n", "failed"),
        ("  wait\n", "timeout_wall"),
        ("  grow\n", "memory"),
        ("  flood\n", "output_limit"),
        ("  die\n", "crashed"),
    ],
)
def test_each_way_to_fail_has_its_outcome(judge, script: str, outcome: str):
    verdict = judge(TASK, script)
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == (outcome, 0, 1)
    assert verdict.isolation == "full"


def test_a_machine_without_lean_says_so_before_anything_is_drafted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    installation.cache_clear()
    with pytest.raises(UsageError, match="Lean is not installed"):
        DOMAIN.require_installed()
    installation.cache_clear()
