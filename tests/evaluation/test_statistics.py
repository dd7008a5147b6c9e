"""Statistics are those of scipy, statsmodels and slow loops."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from mlx_selfdebug.evaluation.statistics import (
    Interval,
    bootstrap,
    bootstrap_gain,
    both_power,
    holm,
    mcnemar,
    mcnemar_power,
    smallest_gain,
    wilson,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    contingency: Any = pytest.importorskip("statsmodels.stats.contingency_tables")
    multitest: Any = pytest.importorskip("statsmodels.stats.multitest")
    proportion: Any = pytest.importorskip("statsmodels.stats.proportion")


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_that_of_statsmodels(won: int, lost: int) -> None:
    assume(won + lost)
    theirs = contingency.mcnemar([[3, won], [lost, 4]], exact=True).pvalue
    assert mcnemar(won, lost) == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=20)  # statsmodels collects garbage at each call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    theirs = multitest.multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(theirs), abs=1e-9)


def test_no_test_needs_no_correction() -> None:
    assert holm([]) == []


@given(st.data())
def test_wilson_is_that_of_statsmodels(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 500))
    solved = data.draw(st.integers(0, n))
    low, high = proportion.proportion_confint(solved, n, method="wilson")
    found = wilson(solved, n)
    assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)


def test_of_no_problem_every_share_is_possible() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)


def gain(left: Any, right: Any) -> Any:
    return left.mean(axis=-1) - right.mean(axis=-1)


def test_a_bootstrap_is_the_same_as_of_a_slow_loop_over_tasks() -> None:
    rng = np.random.default_rng(3)
    left, right = rng.integers(0, 2, 40), rng.integers(0, 2, 40)
    found = bootstrap([left, right], gain, seed=5, resamples=500)
    draws = np.random.default_rng(5).integers(0, 40, (500, 40))
    slowly = [sum(left[i] - right[i] for i in tasks) / 40 for tasks in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(slowly, [2.5, 97.5])), abs=1e-9)


def test_a_bootstrap_of_wins_and_losses_is_that_of_their_tasks() -> None:
    values = [1.0] * 30 + [-1.0] * 11 + [0.0] * 123
    by_tasks = bootstrap([values], lambda a: a.mean(axis=-1), resamples=40_000)
    by_numbers = bootstrap_gain(30, 11, 164, resamples=40_000)
    assert (by_numbers.low, by_numbers.high) == pytest.approx((by_tasks.low, by_tasks.high), abs=1.01 / 164)


def test_wins_and_losses_of_too_few_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 won and 2 lost of 4 tasks"):
        bootstrap_gain(3, 2, 4)


def test_a_bootstrap_is_about_as_wide_as_the_normal_theory_says() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap([values], lambda a: a.mean(axis=-1))
    wide = 2 * 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize("column", [[1.0], [0.0, 0.0, 0.0]])
def test_a_bootstrap_of_equal_values_is_a_point(column: list[float]) -> None:
    found = bootstrap([column], lambda a: a.mean(axis=-1))
    assert found == Interval(column[0], column[0])


@pytest.mark.parametrize("columns", [[], [[]], [[1.0], [1.0, 2.0]]])
def test_a_bootstrap_of_nothing_or_of_ragged_columns_is_refused(columns: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"bootstrap|inhomogeneous"):
        bootstrap(columns, lambda a: a.mean(axis=-1))


@given(st.integers(1, 40), st.floats(0.05, 1), st.floats(0, 1))
@settings(max_examples=25)
def test_power_is_the_sum_over_all_outcomes(n: int, discordant: float, part: float) -> None:
    win = discordant * (1 + part) / 2
    lose = discordant - win
    slowly = 0.0
    for won, lost in itertools.product(range(n + 1), repeat=2):
        if won + lost <= n and won > lost and mcnemar(won, lost) <= 0.05:
            slowly += binom.pmf(won + lost, n, discordant) * binom.pmf(won, won + lost, win / (win + lose))
    assert mcnemar_power(n, win - lose, discordant) == pytest.approx(slowly, abs=1e-9)


def test_a_gain_that_is_larger_than_what_differs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a gain of 0\.3"):
        mcnemar_power(100, 0.3, 0.2)


def test_the_smallest_gain_is_shown_in_four_of_five_tries_and_shrinks_with_the_set() -> None:
    found = [smallest_gain(n, 0.2) for n in (50, 164, 500)]
    assert all(found)
    assert found == sorted(found, reverse=True)
    for n, one in zip((50, 164, 500), found, strict=True):
        assert mcnemar_power(n, one, max(one, 0.2)) == pytest.approx(0.8, abs=0.01)


def test_a_handful_of_problems_shows_nothing() -> None:
    assert smallest_gain(5, 0.5) is None
    assert smallest_gain(0, 0.5) is None


def needed(m: int) -> int:
    """The fewest wins of ``m`` that are significant."""
    return next((won for won in range(m + 1) if 2 * won > m and mcnemar(won, m - won) <= 0.05), m + 1)


@pytest.mark.parametrize(
    "shares",
    [
        (0.30, 0.03, 0.03, 0.02, 0.08, 0.05, 0.04, 0.45),
        (0.25, 0.02, 0.02, 0.05, 0.14, 0.03, 0.02, 0.47),
        (0.35, 0.06, 0.01, 0.03, 0.06, 0.02, 0.09, 0.38),
    ],
)
def test_the_predicted_power_of_both_tests_is_that_of_a_simulation(shares: tuple[float, ...]) -> None:
    counts = np.random.default_rng(1).multinomial(300, shares, size=2000)
    wins = np.array([needed(m) for m in range(301)])
    won = counts[:, 4] + counts[:, 5], counts[:, 4] + counts[:, 6]
    lost = counts[:, 2] + counts[:, 3], counts[:, 1] + counts[:, 3]
    shown = np.mean((won[0] >= wins[won[0] + lost[0]]) & (won[1] >= wins[won[1] + lost[1]]))
    assert both_power(shares, 300) == pytest.approx(shown, abs=0.03)


weights = st.lists(st.integers(0, 20), min_size=8, max_size=8).filter(any)


@given(weights, st.integers(1, 200))
@settings(max_examples=25)
def test_both_are_beaten_no_more_often_than_either(weights: list[int], n: int) -> None:
    shares = np.array(weights).reshape(2, 2, 2) / sum(weights)
    alone = []
    for pair in (shares.sum(axis=2), shares.sum(axis=1)):
        won, lost = float(pair[1, 0]), float(pair[0, 1])
        alone.append(mcnemar_power(n, won - lost, won + lost))
    assert both_power(shares.ravel().tolist(), n) <= min(alone) + 1e-9


@given(weights, st.integers(1, 200))
@settings(max_examples=25)
def test_two_opponents_that_solve_the_same_are_beaten_as_often_as_one(weights: list[int], n: int) -> None:
    neither, theirs, ours, both = (weight / sum(weights) for weight in np.array(weights).reshape(4, 2).sum(axis=1))
    found = both_power([neither, 0.0, 0.0, theirs, ours, 0.0, 0.0, both], n)
    assert found == pytest.approx(mcnemar_power(n, ours - theirs, ours + theirs), abs=1e-9)


@given(st.integers(1, 400), st.floats(1e-6, 1))
def test_without_a_gain_no_more_than_half_the_level_is_shown(n: int, discordant: float) -> None:
    assert mcnemar_power(n, 0.0, discordant) <= 0.025


def test_whole_tasks_are_drawn_so_that_what_two_arms_share_does_not_widen_their_difference() -> None:
    hard = np.random.default_rng(0).random(300)
    found = bootstrap([hard + 0.1, hard], gain)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1), abs=1e-9)


def test_an_interval_of_a_bootstrap_holds_the_truth_in_about_nineteen_tries_of_twenty() -> None:
    rng = np.random.default_rng(0)
    found = [bootstrap([rng.random(100) < 0.4], lambda a: a.mean(axis=-1), resamples=400) for _ in range(400)]
    assert 0.91 <= np.mean([one.low <= 0.4 <= one.high for one in found]) <= 0.98


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        both_power([0.5] * 8, 100)


def test_an_interval_prints_as_it_is_asked_to() -> None:
    assert f"{Interval(-0.051, 0.1):.1%}" == "-5.1% to 10.0%"
