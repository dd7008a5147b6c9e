"""The benchmark of the evidence keeps its bars, and its own exact sum is right."""

from __future__ import annotations

import runpy
from itertools import combinations, pairwise
from math import factorial, prod

import pytest

from mlx_selfdebug.evaluation.statistics import mcnemar

from .test_benchmarks import ROOT, benchmark

pytestmark = pytest.mark.slow


def test_figures_are_those_of_others_and_the_primary_contrast_keeps_its_promises() -> None:
    text, record = benchmark("evidence", "--tables", "20", "--runs", "100")
    assert max(record["differences"].values()) < 1e-9
    for rows in record["no effect"].values():
        assert [row["n"] for row in rows] == [164, 500]
        assert all(row["shown"] <= 0.07 >= row["worse"] for row in rows)
    for rows in record["effect"].values():
        assert all(row["shown"] == pytest.approx(row["predicted"], abs=0.15) for row in rows)
        assert all(row["exact"] == pytest.approx(row["predicted"], abs=0.02) for row in rows)
    assert "bar" in text


def test_the_exact_power_against_both_is_the_sum_over_all_ways_to_fill_the_table() -> None:
    exact_power = runpy.run_path(str(ROOT / "benchmarks" / "evidence.py"))["exact_power"]
    shares, n = [0.1, 0.05, 0.05, 0.02, 0.4, 0.1, 0.1, 0.18], 7
    slowly = 0.0
    for bars in combinations(range(n + 7), 7):
        counts = [b - a - 1 for a, b in pairwise((-1, *bars, n + 7))]
        sides = [(counts[4] + counts[5], counts[2] + counts[3]), (counts[4] + counts[6], counts[1] + counts[3])]
        if all(won > lost and mcnemar(won, lost) <= 0.05 for won, lost in sides):
            ways = factorial(n) // prod(map(factorial, counts))
            slowly += ways * prod(share**count for share, count in zip(shares, counts, strict=True))
    assert exact_power(shares, n) == pytest.approx(slowly, abs=1e-9)
    assert slowly > 0.01


def test_simulated_evaluations_have_the_shares_that_the_prediction_is_made_from() -> None:
    evidence = runpy.run_path(str(ROOT / "benchmarks" / "evidence.py"))
    for world in (*evidence["WITHOUT_EFFECT"], *evidence["WITH_EFFECT"]):
        shares, drawn = world.shares(), world.draw(40_000, evidence["np"].random.default_rng(3))
        assert sum(shares) == pytest.approx(1)
        facts_over_base, base_over_facts = shares[4] + shares[5], shares[2] + shares[3]
        facts_over_blind, blind_over_facts = shares[4] + shares[6], shares[1] + shares[3]
        expected = (sum(shares[4:]), facts_over_base, base_over_facts, facts_over_blind, blind_over_facts)
        found = (drawn.solved, *drawn.base[1:], *drawn.adapter[1:])
        assert [count / 40_000 for count in found] == pytest.approx(expected, abs=0.01)
