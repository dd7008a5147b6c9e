"""The primary contrast says shown where the adapter beats both opponents, and hardly ever where nothing is to be found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.evaluation.primary import Opponent, Primary
from mlx_selfdebug.evaluation.statistics import mcnemar


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 0, 1.0), (6, 0, 0.03125), (0, 6, 0.03125), (10, 2, 158 / 4096), (25, 9, 0.009041)],
)
def test_the_exact_test_gives_known_values(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == pytest.approx(p, rel=1e-3)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_exact_test_is_symmetric_and_a_probability(won: int, lost: int) -> None:
    assert mcnemar(won, lost) == mcnemar(lost, won)
    assert 0 < mcnemar(won, lost) <= 1


def ids(n: int, start: int = 0) -> list[str]:
    return [str(i) for i in range(start, start + n)]


@pytest.mark.parametrize(
    ("facts", "base", "adapter", "verdict"),
    [
        (ids(20), ids(8), ids(10), "shown"),
        (ids(20), ids(8), ids(18), "not shown"),
        (ids(20), ids(18), ids(8), "not shown"),
        (ids(8), ids(20), ids(8), "shown worse"),
        (ids(8), ids(8), ids(20), "shown worse"),
        (ids(10), ids(10), ids(10), "not shown"),
    ],
)
def test_both_opponents_must_be_beaten_and_losing_to_one_is_worse(
    facts: list[str], base: list[str], adapter: list[str], verdict: str
) -> None:
    assert Primary.of(facts, base, adapter, 40).verdict == verdict


@pytest.mark.parametrize(
    ("facts", "base", "adapter", "finding"),
    [
        (
            ids(20), ids(8), ids(10),
            "There is evidence that the trained model repairs better than it resamples and than the base resamples: ",
        ),
        (
            ids(10), ids(10), ids(10),
            "There is no evidence that the trained model repairs better than it resamples or than the base resamples: ",
        ),
        (
            ids(20), ids(18), ids(8),
            ("There is no evidence that the trained model repairs better than the base resamples, "
             "only that it repairs better than it resamples itself: "),
        ),
        (
            ids(20), ids(8), ids(18),
            ("There is no evidence that the trained model repairs better than it resamples itself, "
             "only that it repairs better than the base resamples: "),
        ),
        (ids(8), ids(8), ids(20), "There is evidence that the trained model repairs worse than it resamples: "),
        (ids(8), ids(20), ids(8), "There is evidence that the trained model repairs worse than the base resamples: "),
        (
            ids(8), ids(20), ids(20),
            "There is evidence that the trained model repairs worse than it resamples and than the base resamples: ",
        ),
    ],
)  # fmt: skip
def test_the_sentence_says_which_opponents_are_beaten(
    facts: list[str], base: list[str], adapter: list[str], finding: str
) -> None:
    assert str(Primary.of(facts, base, adapter, 40)).startswith(finding)


outcomes = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))


@given(outcomes, outcomes)
def test_a_sentence_denies_what_was_not_won_and_nothing_else(
    base: tuple[int, int, int], itself: tuple[int, int, int]
) -> None:
    primary = Primary(40, 100, Opponent(*base), Opponent(*itself))
    first, _, only = primary.claim.partition(", only that ")
    named = tuple(text in first for text in ("than the base resamples", "than it resamples"))
    if primary.verdict == "not shown":
        assert named == (not primary.base.is_beaten, not primary.adapter.is_beaten)
        assert ("than the base resamples" in only) == primary.base.is_beaten
        assert ("than it resamples itself" in only) == primary.adapter.is_beaten
    elif primary.verdict == "shown":
        assert named == (primary.base.is_beaten, primary.adapter.is_beaten) == (True, True)
    else:
        assert named == (primary.base.wins, primary.adapter.wins)


def test_without_an_effect_shown_is_said_in_less_than_one_run_of_twenty() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        easy = rng.beta(0.6, 0.6, 164)
        solved = [{str(i) for i in np.flatnonzero(rng.random(164) < easy)} for _ in range(3)]
        alarms += Primary.of(*solved, 164).verdict == "shown"
    assert alarms / 2000 <= 0.05
