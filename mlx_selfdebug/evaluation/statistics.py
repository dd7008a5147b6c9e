"""Tests, intervals and power, for problems that are solved or not. Numbers in, numbers out; the unit is the problem.

>>> mcnemar(won=6, lost=0)
0.03125
>>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
[0.03, 0.06, 0.06]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, binomtest, norm

LEVEL = 0.05
RESAMPLES = 10_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self:.3g}"

    def __format__(self, spec: str) -> str:
        return f"{self.low:{spec}} to {self.high:{spec}}"


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p of the exact McNemar test: discordant problems fall either way with equal chance (McNemar 1947)."""
    return float(binomtest(min(won, lost), won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p corrected for the number of tests, in the order given (Holm 1979)."""
    n, corrected, most = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(n), key=p_values.__getitem__)):
        most = max(most, (n - rank) * p_values[i])
        corrected[i] = min(1.0, most)
    return corrected


def wilson(solved: int, n: int, level: float = 0.95) -> Interval:
    """Of a share of problems (Wilson 1927). All shares are possible where there is no problem."""
    if not n:
        return Interval(0.0, 1.0)
    found = binomtest(solved, n).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[..., Any],
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile interval of ``statistic``, tasks drawn with replacement (Efron 1979), each with all of its columns.

    ``columns``: one value a task each, such as its mean over training seeds. ``statistic`` takes as many arrays (resamples, tasks)
    and gives (resamples,). Raises ValueError if there is no task or the columns differ in length.
    """
    values = np.asarray(columns, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError("a bootstrap takes columns of one value a task, of the same length and not empty")
    rng, n = np.random.default_rng(seed), values.shape[1]
    found = [statistic(*values[:, rng.integers(0, n, (rows, n))]) for rows in _chunks(resamples, n)]
    return _percentiles(np.concatenate(found), level)


def bootstrap_gain(
    won: int, lost: int, n: int, *, seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """``bootstrap`` of a difference of shares: as every task is won, lost or neither, drawing tasks draws these numbers.

    Raises ValueError if there is no task, or more are won and lost than there are.
    """
    if not n or won + lost > n:
        raise ValueError(f"{won} won and {lost} lost of {n} tasks")
    counts = np.random.default_rng(seed).multinomial(n, np.array([won, lost, n - won - lost]) / n, resamples)
    return _percentiles((counts[:, 0] - counts[:, 1]) / n, level)


def _percentiles(values: Floats, level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _chunks(resamples: int, n: int) -> list[int]:
    """Resamples at a time, so that a few million values are held."""
    most = max(1, 2_000_000 // n)
    whole, rest = divmod(resamples, most)
    return [most] * whole + ([rest] if rest else [])


def mcnemar_power(n: int, gain: float, discordant: float, level: float = LEVEL) -> float:
    """Chance that the exact test is significant in favour of the better, of ``n`` problems.

    ``discordant`` is the share of problems on which both differ, ``gain`` by how much wins exceed losses, as shares of all. Summed
    over the number of discordant problems and of wins among them: no approximation.
    """
    _check_shares(gain, discordant)
    if not discordant:
        return 0.0
    wins = (discordant + gain) / (2 * discordant)
    m = np.arange(1, n + 1)
    return float(np.sum(binom.pmf(m, n, discordant) * binom.sf(_needed(n, level)[1:] - 1, m, wins)))


@lru_cache(maxsize=32)
def _needed(n: int, level: float) -> npt.NDArray[np.int64]:
    """By the number of discordant problems, the fewest wins that are significant; one more than all where none is."""
    m = np.arange(n + 1)
    most_lost = binom.ppf(level / 2, m, 0.5)
    most_lost = most_lost - (2 * binom.cdf(most_lost, m, 0.5) > level)
    return np.asarray(m - most_lost, np.int64)


def smallest_gain(n: int, discordant: float, power: float = 0.8, level: float = LEVEL) -> float | None:
    """The smallest gain that ``n`` problems show with this ``power``, if ``discordant`` of them differ; None if none would.

    A gain larger than ``discordant`` takes that many discordant problems.
    """
    if not n or mcnemar_power(n, 1.0, 1.0, level) < power:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        enough = mcnemar_power(n, middle, max(middle, discordant), level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def both_power(shares: Sequence[float], n: int, level: float = LEVEL) -> float:
    """Chance that the primary contrast is shown: both exact tests in favour of the first of three, of ``n`` problems.

    ``shares``: of problems by who solves them, 8 numbers that sum to 1, at 4 * first + 2 * second + third. The number of wins over
    each opponent is taken as normal given the numbers of discordant problems at their means, both correlated by the problems that
    they share (bivariate normal); each side's mean is set so that alone it has the exact power of ``mcnemar_power``. From an exact
    sum it was off by 2.5 points at most at 50 problems, 1.1 at 164 and 0.2 at 500, over random tables of shares; the sum and
    simulations are in ``benchmarks/evidence.py``.
    """
    table = np.asarray(shares, np.float64).reshape(2, 2, 2)
    if table.min() < 0 or abs(table.sum() - 1) > 1e-9:
        raise ValueError("shares must be 8 numbers from 0 that sum to 1")
    first, second, third = np.indices((2, 2, 2))
    sides = [first - second, first - third]
    powers = [mcnemar_power(n, float((table * d).sum()), float((table * d**2).sum()), level) for d in sides]
    if min(powers) < 1e-9:
        return 0.0
    covariance = (table * sides[0] * sides[1]).sum() - (table * sides[0]).sum() * (table * sides[1]).sum()
    variances = [(table * d**2).sum() - (table * d).sum() ** 2 for d in sides]
    correlation = float(covariance / np.sqrt(variances[0] * variances[1])) if min(variances) > 0 else 1.0
    return _both_below(powers[0], powers[1], correlation)


def _both_below(first: float, second: float, correlation: float) -> float:
    """Chance of two events of these chances whose normal scores have this correlation."""
    if max(first, second) > 1 - 1e-9 or correlation > 1 - 1e-9:
        return min(first, second)
    from scipy.stats import multivariate_normal

    scores = norm.ppf([first, second])
    together = multivariate_normal([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])
    return float(together.cdf(scores))


def _check_shares(gain: float, discordant: float) -> None:
    if not 0 <= discordant <= 1 or abs(gain) > discordant + 1e-12:
        raise ValueError(f"a gain of {gain:g} takes at least that share of discordant problems, not {discordant:g}")
