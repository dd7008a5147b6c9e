"""Lean judges proofs in a confined process, which starts it for each of them.

Lean cannot be had where these tests were written. Most of them use a stand-in for its command line (``lean_stand_in.py``), which runs
in the real sandbox. They show that what Lean's sources say it prints is read as it should be: proofs, failures, goals, axioms,
limits and the self-test. They do not show that Lean prints it, that it starts in the sandbox, or that it accepts our files.
The tests at the end use a real Lean and show that, where there is one. The self-test shows it to every user.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlx_selfdebug.errors import SandboxError, UsageError
from mlx_selfdebug.proving import lean as lean_module
from mlx_selfdebug.proving.lean import Lean, installation, open_lean
from mlx_selfdebug.proving.lean_report import AXIOMS, lean_file
from mlx_selfdebug.proving.script import ScriptError
from mlx_selfdebug.proving.theorem import CheckedProof, Theorem

from .hostile_lean import REFUSED

STAND_IN = Path(__file__).parent / "lean_stand_in.py"
ADD = Theorem("add_comm", "theorem add_comm (a b : Nat) : a + b = b + a")
RIGHT = "exact Nat.add_comm a b"


def has_lean() -> bool:
    try:
        installation()
    except UsageError:
        return False
    return True


needs_lean = pytest.mark.skipif(not has_lean(), reason="Lean is not installed")


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def put_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Make the stand-in the only program ``lean``, with some of its constants changed."""
    # The server in the sandbox is run by the same interpreter, so this is a program that may be started there.
    text = f"#!{os.path.realpath(sys.executable)} -IS\n{STAND_IN.read_text()}"
    for name, value in changes.items():
        before = text
        text = "".join(
            f"{name} = {value!r}\n" if line.startswith(f"{name} = ") else line for line in text.splitlines(True)
        )
        assert text != before
    write_program(folder / "toolchain/bin/lean", text)
    use_path(folder / "toolchain/bin", monkeypatch)


def use_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    installation.cache_clear()


@pytest.fixture(autouse=True)
def forget_installation() -> Iterator[None]:
    yield
    installation.cache_clear()


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lean]:
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as monkeypatch:
            put_stand_in(tmp_path_factory.mktemp("lean"), monkeypatch)
            checker = stack.enter_context(open_lean(workers=2))
        yield checker


def check(lean: Lean, script: str, theorem: Theorem = ADD, wall_s: float = 30) -> CheckedProof:
    return lean.check(theorem, script, wall_s).result(120)


def test_a_proof_is_accepted(lean: Lean):
    assert check(lean, f"  {RIGHT}\n").proved
    assert check(lean, "warns\nomega").proved
    assert (lean.version, lean.isolation) == ("4.9.0", "full")


def test_the_line_that_fails_is_told_with_its_goals(lean: Lean):
    proof = check(lean, "-- by computation\nskip\nrfl\n")
    assert (proof.proved, proof.line, proof.source) == (False, 3, "rfl")
    assert proof.message == "The rfl tactic failed. The left-hand side a + b is not equal to the right-hand side b + a"
    assert proof.goals == ("a b : Nat\n⊢ a + b = b + a",)


def test_goals_that_are_left_at_the_end_are_told(lean: Lean):
    proof = check(lean, "skip")
    assert (proof.message, proof.line, proof.source, proof.n_goals) == ("unsolved goals", 0, "", 2)
    assert proof.goals == (
        "case zero\n⊢ 0 + b = b + 0",
        "case succ\na b : Nat\nih : a + b =\n  b + a\n⊢ a + 1 + b = b + (a + 1)",
    )


def test_a_script_that_breaks_off_is_told_nothing_of_what_follows_it(lean: Lean):
    proof = check(lean, "break off")
    assert (proof.message, proof.line) == ("unexpected end of the proof; expected term", 0)


def test_an_error_of_the_kernel_is_a_failed_proof_though_it_stands_at_the_theorem(lean: Lean):
    proof = check(lean, "is refused by the kernel")
    assert proof.message == "(kernel) declaration has metavariables '_example'"


def test_sorry_is_refused_in_a_script_and_noticed_in_a_file(lean: Lean):
    with pytest.raises(ScriptError):
        lean.check(ADD, "sorry")
    report = lean._pool.submit(lean._report, ADD, ["sorry"], 30).result()
    assert report.verdict(frozenset({"sorryAx"})).message == "the proof rests on something that was not proved"


def test_an_axiom_is_refused_unless_it_is_allowed(lean: Lean):
    statement = "theorem t (p : Prop) : ¬ ¬ p → p"
    assert check(lean, "omega").proved
    assert (
        check(lean, "exact em p", Theorem("t", statement)).message
        == "the proof rests on mine.em, which may not be assumed"
    )
    assert check(lean, "exact em p", Theorem("t", statement, (), frozenset({"mine.em"}))).proved


@pytest.mark.parametrize(
    "script", ["answers itself", "answers twice\nomega", "answers for another", "prints an answer"]
)
def test_what_a_script_could_print_is_no_answer(lean: Lean, script: str):
    assert check(lean, script).message == "Lean does not say what the proof rests on"


def test_a_proof_takes_no_longer_than_it_may(lean: Lean):
    began = time.monotonic()
    assert check(lean, "wait", wall_s=0.5).ending == "timed_out"
    assert time.monotonic() - began < 10
    assert check(lean, RIGHT).proved


@pytest.mark.parametrize(
    ("script", "ending"), [("flood", "output"), ("grow", "memory"), ("swell", "memory"), ("die", "crashed")]
)
def test_a_lean_that_is_ended_says_why(lean: Lean, script: str, ending: str):
    assert check(lean, script).ending == ending
    assert check(lean, RIGHT).proved


@pytest.mark.parametrize(
    ("theorem", "said"),
    [
        (Theorem("t", "theorem t : 1 +"), "unexpected token ':='; expected term"),
        (
            Theorem("t", ADD.statement.replace("add_comm", "t"), ("import Mathlib\n",)),
            "unknown module prefix 'Mathlib'",
        ),
    ],
)
def test_a_theorem_that_cannot_be_read_is_no_failed_proof(lean: Lean, theorem: Theorem, said: str):
    with pytest.raises(UsageError, match=f"Lean cannot read the theorem t: {said}"):
        check(lean, RIGHT, theorem)


def test_checks_made_at_the_same_time_do_not_disturb_each_other(lean: Lean):
    futures = [lean.check(ADD, script) for _ in range(5) for script in (RIGHT, "rfl", "skip", "omega")]
    assert [future.result(60).proved for future in futures] == [True, False, False, True] * 5


def test_a_checker_that_is_lost_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_stand_in(tmp_path, monkeypatch)
    with open_lean(workers=1) as alone:
        monkeypatch.setattr(alone._workers[0]._session, "receive", lambda *_: None)
        assert check(alone, RIGHT).proved
        monkeypatch.setattr(type(alone._workers[0]._session), "receive", lambda *_: None)
        with pytest.raises(SandboxError, match="drives Lean was lost twice"):
            check(alone, RIGHT)


def test_a_checker_that_could_not_be_started_again_is_started_for_the_next_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail_to_start() -> None:
        raise SandboxError("the machine is short of processes")

    put_stand_in(tmp_path, monkeypatch)
    with open_lean(workers=1) as alone:
        worker = alone._workers[0]
        with monkeypatch.context() as broken:
            broken.setattr(worker._session, "receive", lambda *_: None)
            broken.setattr(worker, "_start", fail_to_start)
            with pytest.raises(SandboxError, match="short of processes"):
                check(alone, RIGHT)
        assert check(alone, RIGHT).proved


def test_memory_that_the_sandbox_finds_used_up_ends_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_stand_in(tmp_path, monkeypatch)
    with open_lean(workers=1) as alone:
        session = alone._workers[0]._session
        completed = type("Completed", (), {"ending": "memory"})
        monkeypatch.setattr(type(session), "has_ended", True)
        monkeypatch.setattr(session, "completed", lambda: completed)
        monkeypatch.setattr(session, "receive", lambda *_: None)
        assert check(alone, RIGHT).ending == "memory"
        assert check(alone, RIGHT).proved


@pytest.mark.parametrize(
    ("blind", "trouble"),
    [
        ("right", r"a right proof is not accepted \(unsolved goals\)"),
        ("wrong", r"a wrong proof does not fail at its line \(it is accepted\)"),
        ("sorry", r"sorry is not noticed \(it is accepted\)"),
        ("axiom", r"an axiom is not noticed \(it is accepted\)"),
    ],
)
def test_a_lean_that_fails_the_self_test_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: str, trouble: str
):
    put_stand_in(tmp_path, monkeypatch, BLIND=blind)
    with pytest.raises(UsageError, match=trouble), open_lean(workers=1):
        pass


def test_a_lean_that_does_not_start_in_the_sandbox_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_stand_in(tmp_path, monkeypatch)
    monkeypatch.setattr(lean_module, "_place_of_folder", lambda: None)
    with (
        pytest.raises(UsageError, match=r"not accepted \(crashed: error: failed to locate application\)"),
        open_lean(workers=1),
    ):
        pass


def test_the_toolchain_behind_elan_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_stand_in(tmp_path, monkeypatch)
    real = tmp_path / "toolchain/bin/lean"
    write_program(tmp_path / "elan/lean", f'#!/bin/sh\nexec "{real}" "$@"\n')
    use_path(tmp_path / "elan", monkeypatch)
    where, version = installation()
    assert (where.program, where.readable, version) == (str(real), (str(tmp_path / "toolchain"),), "4.9.0")
    with open_lean(workers=1) as checker:
        assert check(checker, RIGHT).proved


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "Lean is not installed: there is no lean on the path"),
        ("echo 'Lean (version 3.51.1, commit cce7990ea86a, Release)'", r"is Lean 3\.51\.1; Lean 4 is needed"),
        ("echo 'error: no default toolchain configured' >&2", "does not say that it is Lean: 'error: no default"),
        ("echo 'something else'", "does not say that it is Lean: 'something else'"),
        ('test "$1" = --version && echo "Lean (version 4.9.0, Release)"', "does not say where Lean is installed: ''"),
    ],
)
def test_what_is_no_lean_4_is_said_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, said: str
):
    if program:
        write_program(tmp_path / "lean", f"#!/bin/sh\n{program}\n")
    use_path(tmp_path, monkeypatch)
    with pytest.raises(UsageError, match=said) as raised:
        installation()
    assert "elan" in raised.value.hint


def test_the_file_states_the_theorem_under_the_given_name_and_knows_its_lines():
    theorem = Theorem("Nat.t", "@[simp] theorem Nat.t.{u} (φ : Type u) : Nat.t = Nat.t", ("open Nat\n",))
    file = lean_file(theorem, ["intro", "", "rfl"], "goal")
    assert file.text == (
        "open Nat\n\n@[simp] theorem Nat.goal.{u} (φ : Type u) : Nat.t = Nat.t\n  := by\n  intro\n\n  rfl\n\n"
        "set_option pp.fullNames true\n#print axioms goal\n"
    )
    lines = file.text.split("\n")
    assert (lines[file.by_line - 1], lines[file.last_line - 1]) == ("  := by", "#print axioms goal")


@pytest.fixture(scope="module")
def real_lean() -> Iterator[Lean]:
    installation.cache_clear()
    with open_lean() as checker:
        yield checker


@needs_lean
def test_a_real_lean_passes_the_self_test_and_judges(real_lean: Lean):
    assert check(real_lean, "induction a with\n| zero => simp\n| succ n ih => omega").proved
    left = check(real_lean, "induction a with\n| zero => simp\n| succ n ih => skip")
    assert (left.proved, left.ending, bool(left.goals)) == (False, "", True)
    for script in ("exact Nat.mul_comm a b", "have h : a + b =", "intro x", "(", "exact no_such_name"):
        failed = check(real_lean, script)
        assert (failed.proved, failed.ending, bool(failed.message)) == (False, "", True)


@needs_lean
def test_a_real_lean_is_told_apart_from_a_theorem_that_it_cannot_read(real_lean: Lean):
    for theorem in (
        Theorem("t", "theorem t : 1 +"),
        Theorem("t", "theorem t : no_such_name"),
        Theorem("t", "theorem t : True", ("import NoSuchModule\n",)),
    ):
        with pytest.raises(UsageError, match="Lean cannot read the theorem t"):
            check(real_lean, "trivial", theorem)


@needs_lean
def test_a_real_lean_names_an_axiom_in_full_where_its_namespace_is_open(real_lean: Lean):
    theorem = Theorem("t", "theorem t (p : Prop) : p → ¬ ¬ p", ("namespace Own\nopen Classical\n",))
    assert check(real_lean, "intro h n\nexact byContradiction fun _ => n h", theorem).proved


@needs_lean
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_script_would_also_fail_in_a_real_lean(real_lean: Lean, name: str):
    """The words of a script are not the only thing that a false proof has to get past."""
    lines = REFUSED[name].split("\n")
    false = Theorem("false_theorem", "theorem false_theorem : 1 = 2")
    report = real_lean._pool.submit(real_lean._report, false, lines, 20).result()
    assert not report.verdict(AXIOMS).proved
