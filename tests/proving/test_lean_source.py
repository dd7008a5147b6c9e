"""Comments and theorems are found in Lean source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.proving.lean_source import THEOREM, comments_of, parts_of, without_comments
from mlx_selfdebug.proving.script import UnreadableError


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("rfl -- done\nsimp", "rfl\nsimp"),
        ("a /- b /- c -/ d -/ e", "a e"),
        ("/-- doc -/ theorem", "theorem"),
        ('s "-- no /- comment" -- one', 's "-- no /- comment"'),
        ('s "\\" -- no" -- one', 's "\\" -- no"'),
        ('r#"a" -- b"# -- one', 'r#"a" -- b"#'),
        ("'\"' -- one", "'\"'"),
        ("f' a' -- one", "f' a'"),
        ("-- one /-\ntwo", "two"),
    ],
)
def test_comments_are_removed_and_strings_stay(source: str, kept: str):
    left = without_comments(source)
    assert len(left) == len(source)
    assert left.split() == kept.split()


@pytest.mark.parametrize(("source", "line"), [("rfl\n/- one", 2), ("/- /- -/", 1), ('a\n\n"one', 3)])
def test_what_does_not_end_is_said_with_its_line(source: str, line: int):
    with pytest.raises(UnreadableError) as raised:
        without_comments(source)
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("theorem add_zero (n : Nat) : n + 0 = n", "add_zero"),
        ("@[simp] theorem Nat.add_zero' : True", "Nat.add_zero'"),
        ("protected theorem foo.{u} (φ : Type u) : True", "foo"),
        ("theorem\n  broken : True", "broken"),
    ],
)
def test_the_name_of_a_theorem_is_found(source: str, name: str):
    match = THEOREM.match(source)
    assert match is not None
    assert match[1] == name


@pytest.mark.parametrize(
    "source", ["def two := 2", "private theorem t : True", "theorem «a b» : True", "example : True"]
)
def test_what_is_no_theorem_is_not_taken_for_one(source: str):
    assert THEOREM.match(source) is None


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("theorem t : True := by\n  trivial", ("theorem t : True", "\n  trivial")),
        ("theorem t : True\n  :=\n  by trivial", ("theorem t : True", " trivial")),
        ("theorem t (h : x = y := by simp) : True := by rfl", ("theorem t (h : x = y := by simp) : True", " rfl")),
        ("theorem t : let x := 1; x = 1 := by rfl", ("theorem t : let x := 1; x = 1", " rfl")),
        ("theorem t : True := trivial", None),
        ("theorem t : True := bye", None),
    ],
)
def test_a_theorem_is_parted_at_its_proof(source: str, parts: tuple[str, str] | None):
    assert parts_of(source) == parts


PIECES = st.sampled_from(["--", "/-", "-/", '"', "'", "a", " ", "\n", "\\", 'r#"', '"#'])


@given(st.lists(PIECES, max_size=20).map("".join))
def test_lines_and_positions_stay_the_same(source: str):
    try:
        comments = list(comments_of(source))
    except UnreadableError:
        return
    left = without_comments(source)
    assert [len(line) for line in left.split("\n")] == [len(line) for line in source.split("\n")]
    assert all(source[begin:end].startswith(("--", "/-")) for begin, end in comments)
