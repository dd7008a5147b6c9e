"""The proof's questions are answered for each seed, against the opponent that is hardest to beat."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.evaluation.arms import ArmKey

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HARD = frozenset(f"set:{i}" for i in range(20))


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> Any:
    for folder in (BENCHMARKS, BENCHMARKS / "proof"):
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("proof")


def half(proof: Any, **solved: int) -> Any:
    """A half in which each arm solves the first so many of twenty hard problems, and one that is not hard."""
    arms = {name.replace("__", "/").replace("_", "-"): n for name, n in solved.items()}
    found = {ArmKey(*name.split("/")): frozenset([*sorted(HARD)[:n], "set:easy"]) for name, n in arms.items()}
    return proof.Half(HARD | {"set:easy"}, HARD, found)


def question(proof: Any) -> Any:
    return proof.Question("?", "trained/facts", ("base/blind", "drafts-alone/blind"), only_hard=True)


def test_each_seed_has_to_beat_the_opponent_that_is_hardest_to_beat(proof: Any) -> None:
    blind = {"base__blind": 1, "drafts_alone_0__blind": 4, "drafts_alone_1__blind": 0}
    played = half(proof, trained_0__facts=12, trained_1__facts=10, **blind)
    first, second = proof.answers_to(question(proof), [("own failures", played)])
    assert (first["left"], first["right"], first["won"], first["lost"], first["n"]) == (
        "trained-0/facts",
        "drafts-alone-0/blind",
        8,
        0,
        20,
    )
    assert (second["right"], second["won"]) == ("base/blind", 9)
    assert first["p"] == pytest.approx(2 / 2**8)


def test_an_arm_that_is_behind_has_shown_nothing(proof: Any) -> None:
    played = half(proof, trained_0__facts=1, base__blind=9, drafts_alone_0__blind=0)
    [answer] = proof.answers_to(question(proof), [("own failures", played)])
    assert (answer["lost"], answer["p"]) == (8, 1.0)


def test_a_seed_that_was_not_tested_on_all_sets_is_left_out(proof: Any) -> None:
    arms = {"base__blind": 1, "drafts_alone_0__blind": 1, "drafts_alone_1__blind": 1, "trained_0__facts": 2}
    halves = [
        ("own failures", half(proof, **arms, trained_1__facts=9)),
        ("own failures", half(proof, **arms)),
        ("bugs", half(proof)),
    ]
    [answer] = proof.answers_to(question(proof), halves)
    assert answer["left"] == "trained-0/facts"
