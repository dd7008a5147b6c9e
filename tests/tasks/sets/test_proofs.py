"""Theorems are read from marked files of Rocq and Lean and from records like miniF2F's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_selfdebug.domains.lean import theorem_of
from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.proving.lean import installation
from mlx_selfdebug.tasks import load_tasks
from tests.proving.test_lean import needs_lean, put_stand_in
from tests.proving.test_rocq import needs_rocq

MARKED = """(* Lemmas of our own. *)
Require Import Arith.

Definition double (n : nat) := n + n.

(* task: The double of one is two.
   wrong: discriminate.
   wrong: intros n.
     reflexivity.
   pass_rate: 0.5
   difficulty: medium *)
Theorem double_one : double 1 = 2.
Proof.
  unfold double. (* by computation *)
  reflexivity.
Qed.

Lemma helper : forall n, n + 0 = n.
Proof. intros. apply Nat.add_0_r. Qed.

(* task: The double of a number is its sum with itself.
   axioms: classic, functional_extensionality *)
Lemma double_sum n : double n = n + n.
Proof.
  reflexivity.
Defined.
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.v"
    path.write_text(MARKED)
    return path


def test_a_marked_theorem_is_a_task_with_all_that_its_comment_says(own: Path):
    first, second = load_tasks(f"proofs:{own}")
    assert (first.id, first.domain, first.entry_point) == ("proofs/own/double_one", "proof", "double_one")
    assert first.statement == "The double of one is two."
    assert first.reference == "  unfold double.\n  reflexivity.\nQed.\n"
    assert first.wrong == ("  discriminate.\nQed.\n", "  intros n. reflexivity.\nQed.\n")
    assert (first.pass_rate, first.difficulty, first.data) == (0.5, "medium", "")
    assert json.loads(second.data) == {"axioms": ["classic", "functional_extensionality"]}


def test_what_stands_before_a_theorem_belongs_to_it_but_no_other_task(own: Path):
    first, second = load_tasks(f"proofs:{own}")
    assert "helper" not in first.starter_code
    assert "helper" in second.starter_code
    assert "double_one" not in second.starter_code
    assert second.starter_code.endswith("\n\nLemma double_sum n : double n = n + n.\n")


@needs_rocq
def test_references_pass_and_wrong_scripts_fail(own: Path, errors):
    assert errors(load_tasks(f"proofs:{own}")) == []


@needs_rocq
def test_the_theorems_that_come_with_the_package_are_sound(errors):
    assert errors(load_tasks("proofs")) == []


def test_there_are_at_least_60_theorems_and_each_has_a_wrong_script():
    tasks = load_tasks("proofs")
    assert len(tasks) >= 60
    assert [task.id for task in tasks if not (task.wrong and task.statement and task.reference)] == []
    assert len({task.entry_point for task in tasks}) == len(tasks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Theorem t : True. Proof. exact I. Qed.", "no theorem is marked as a task"),
        ("(* task: None follows. *)", "own.v:1: no theorem with a proof follows"),
        ("(* task: It has no proof. *)\nTheorem t : True.", "own.v:1: no theorem with a proof follows"),
        ("(* task: It is given up. *)\nTheorem t : True. Admitted.", "own.v:1: no theorem with a proof follows"),
        (
            "(* task: It is no theorem. *)\nDefinition d := 1.\nTheorem t : True. exact I. Qed.",
            "own.v:1: no theorem with a proof follows",
        ),
        ("\n(* task: One. pass_rate: 2 *)\nTheorem t : True. exact I. Qed.", "pass_rate: 2"),
        ("\n(* task: One.\n pass_rate: 2 *)\nTheorem t : True. exact I. Qed.", "own.v:2: pass_rate is '2'"),
        (
            "(* task: One.\n difficulty: odd *)\nTheorem t : True. exact I. Qed.",
            "difficulty is 'odd'; it may be easy, medium, hard",
        ),
        ("(* task: One. *)\nTheorem t : True. exact I. Qed.\n" * 2, "the theorem t is stated more than once"),
        ("(* task: One. *)\nTheorem t : True. exact I. Qed. (* end", "own.v:2: a comment does not end"),
        ("(* task: One. *)\nTheorem t : True. exact I. Qed", "own.v:2: the last sentence does not end"),
        ("", "no theorem is marked as a task"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(own: Path, text: str, said: str):
    own.write_text(text)
    if said.startswith("pass_rate: 2"):  # Only a key at the beginning of a line is one.
        assert load_tasks(f"proofs:{own}")[0].statement.endswith(said)
        return
    with pytest.raises(TaskError) as raised:
        load_tasks(f"proofs:{own}")
    assert said in "\n".join([str(raised.value), *raised.value.problems])


MARKED_LEAN = """-- Lemmas of our own.
open Nat

/-- The double. -/
def double (n : Nat) := n + n -- as a sum

/- task: The double of one is two.
   wrong: intro n; rfl
   wrong: exact double_sum
     1
   pass_rate: 0.5
   difficulty: medium -/
@[simp] theorem double_one : double 1 = 2 := by
  unfold double -- by computation

  rfl

theorem helper (n : Nat) : n + 0 = n := by
  rfl

/- task: The double of a number is its sum with itself.
   axioms: mine, yours -/
theorem double_sum (n : Nat) :
    double n = n + n
  := by rfl

#print axioms double_sum
"""


@pytest.fixture
def own_lean(tmp_path: Path) -> Path:
    path = tmp_path / "own.lean"
    path.write_text(MARKED_LEAN)
    return path


def test_a_marked_theorem_in_lean_is_a_task_too(own_lean: Path):
    first, second = load_tasks(f"proofs:{own_lean}")
    assert (first.id, first.domain, first.entry_point) == ("proofs/own/double_one", "lean", "double_one")
    assert first.statement == "The double of one is two."
    assert (
        first.starter_code == "open Nat\n\ndef double (n : Nat) := n + n\n\n@[simp] theorem double_one : double 1 = 2\n"
    )
    assert first.reference == "  unfold double\n\n  rfl\n"
    assert first.wrong == ("  intro n; rfl\n", "  exact double_sum 1\n")
    assert (first.pass_rate, first.difficulty, first.data) == (0.5, "medium", "")
    assert second.reference == "  rfl\n"
    assert json.loads(second.data) == {"axioms": ["mine", "yours"]}
    assert "theorem helper (n : Nat) : n + 0 = n := by\n  rfl\n" in second.starter_code
    assert "double_one" not in second.starter_code
    assert second.starter_code.endswith("\n\ntheorem double_sum (n : Nat) :\n    double n = n + n\n")
    assert [theorem_of(task).name for task in (first, second)] == ["double_one", "double_sum"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theorem t : True := by\n  trivial", "no theorem is marked as a task"),
        ("-- task: One.\ntheorem t : True := by\n  trivial", "no theorem is marked as a task"),
        ("/- task: None follows. -/", "own.lean:1: no theorem with a proof follows, which begins with := by"),
        ("\n/- task: One. -/\ntheorem t : True := trivial", "own.lean:2: no theorem with a proof follows"),
        ("/- task: One. -/\ntheorem t : True := by\n\ndef two := 2", "own.lean:1: no theorem with a proof follows"),
        (
            "/- task: One. -/\ndef two := 2\ntheorem t : True := by trivial",
            "own.lean:1: no theorem with a proof follows",
        ),
        ("/- task: One. -/\ntheorem t : True := by trivial\n" * 2, "the theorem t is stated more than once"),
        ("/- task: One. -/\ntheorem t : True := by trivial\n/- end", "own.lean:3: a comment does not end"),
    ],
)
def test_what_is_wrong_with_a_lean_file_is_said_with_its_line(own_lean: Path, text: str, said: str):
    own_lean.write_text(text)
    with pytest.raises(TaskError) as raised:
        load_tasks(f"proofs:{own_lean}")
    assert said in "\n".join([str(raised.value), *raised.value.problems])


def test_the_hint_shows_a_mark_in_the_language_of_the_file(own: Path, own_lean: Path):
    for path, hint in ((own, "(* task: what it says, in words *)"), (own_lean, "/- task: what it says, in words -/")):
        path.write_text("")
        with pytest.raises(TaskError) as raised:
            load_tasks(f"proofs:{path}")
        assert raised.value.hint == f"write a comment before it: {hint}"


LEAN_TASKS = """
/- task: Sums commute.
   wrong: rfl
   wrong: skip -/
theorem add_comm (a b : Nat) : a + b = b + a := by
  exact Nat.add_comm a b
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    put_stand_in(tmp_path, monkeypatch)
    yield
    installation.cache_clear()


def test_references_in_lean_pass_and_wrong_scripts_fail(stand_in: None, own_lean: Path, errors):
    own_lean.write_text(LEAN_TASKS)
    assert errors(load_tasks(f"proofs:{own_lean}")) == []


@needs_lean
def test_a_real_lean_judges_marked_files(own_lean: Path, errors):
    assert errors(load_tasks(f"proofs:{own_lean}")) == []
    own_lean.write_text(LEAN_TASKS)
    assert errors(load_tasks(f"proofs:{own_lean}")) == []


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path):
    with pytest.raises(TaskError, match=r"none\.v cannot be read"):
        load_tasks(f"proofs:{tmp_path / 'none.v'}")
    (tmp_path / "bad.v").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"bad\.v is not a text in UTF-8"):
        load_tasks(f"proofs:{tmp_path / 'bad.v'}")


RECORD = {
    "name": "one_and_one",
    "split": "valid",
    "informal_prefix": "/-- One and one is two. -/",
    "formal_statement": "Theorem one_and_one : 1 + 1 = 2.\nProof.\nAdmitted.",
    "header": "Require Import Arith.",
}


def test_records_like_those_of_minif2f_are_read(write):
    [task] = load_tasks(f"proofs:{write(json.dumps(RECORD))}")
    assert task.statement == "One and one is two."
    assert task.starter_code == "Require Import Arith.\nTheorem one_and_one : 1 + 1 = 2.\n"


@pytest.mark.parametrize("end", ["", " :=", " := by", " := by\n", "\n  := by sorry", " := sorry\n"])
def test_records_in_lean_are_tasks_of_lean(write, end: str):
    lean = {"formal_statement": f"theorem one_and_one : 1 + 1 = 2{end}", "header": "open Nat\n"}
    [task] = load_tasks(f"proofs:{write(json.dumps(RECORD | lean))}")
    assert (task.domain, task.statement) == ("lean", "One and one is two.")
    assert task.starter_code == "open Nat\n\ntheorem one_and_one : 1 + 1 = 2\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"formal_statement": "theorem other : 1 + 1 = 2 := by"}, "does not end with the theorem 'one_and_one'"),
        ({"formal_statement": "theorem one_and_one : 1 + 1 = 2 := by\n  rfl"}, "ends with a proof"),
        ({"name": "other"}, "does not end with the theorem 'other'"),
        ({"formal_statement": 7}, "formal_statement: 7 is not a string"),
    ],
)
def test_a_record_that_holds_no_theorem_of_its_name_is_an_error(write, changes: dict[str, object], said: str):
    with pytest.raises(TaskError) as raised:
        load_tasks(f"proofs:{write(json.dumps(RECORD | changes))}")
    assert said in "\n".join(raised.value.problems)
