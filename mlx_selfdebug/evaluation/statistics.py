"""Compute exact tests, intervals and power for problems that are either solved or not.

All functions take numbers and return numbers. The unit is the problem, never the check.

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
"""The level of significance of every test."""
RESAMPLES = 10_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An interval of a figure. A format such as ``f"{interval:.1%}"`` applies to both of its ends."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self:.3g}"

    def __format__(self, spec: str) -> str:
        return f"{self.low:{spec}} to {self.high:{spec}}"


def mcnemar(won: int, lost: int) -> float:
    """Return the two-sided p value of the exact McNemar test (McNemar 1947).

    Problems that only one side solves are ``won`` or ``lost``; under the null hypothesis each falls either way with equal chance.
    """
    return float(binomtest(min(won, lost), won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return every p value corrected for the number of tests, in the order given (Holm 1979)."""
    n, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(n), key=p_values.__getitem__)):
        largest = max(largest, (n - rank) * p_values[i])
        corrected[i] = min(1.0, largest)
    return corrected


def wilson(solved: int, n: int, level: float = 0.95) -> Interval:
    """Return the Wilson interval of the share of problems solved (Wilson 1927); 0 to 1 where there is no problem."""
    if not n:
        return Interval(0.0, 1.0)
    interval = binomtest(solved, n).proportion_ci(level, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[..., Any],
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the percentile interval of a statistic over tasks that are drawn with replacement (Efron 1979).

    A task is drawn with its values in all columns. Each of ``columns`` holds one value per task, such as the task's mean over
    training seeds. ``statistic`` takes one array of shape (resamples, tasks) per column and returns an array of shape (resamples,).
    Raises ValueError if there is no task or the columns differ in length.
    """
    values = np.asarray(columns, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError("a bootstrap needs columns of one value per task, of the same length and not empty")
    rng, n = np.random.default_rng(seed), values.shape[1]
    statistics = [statistic(*values[:, rng.integers(0, n, (rows, n))]) for rows in _chunks(resamples, n)]
    return _percentiles(np.concatenate(statistics), level)


def bootstrap_gain(
    won: int, lost: int, n: int, *, seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Return the interval that ``bootstrap`` gives for a difference of shares, from the numbers of tasks won and lost alone.

    Every task is won, lost or neither, so drawing tasks with replacement amounts to drawing these numbers. Raises ValueError if
    there is no task, or if more tasks are won and lost than there are.
    """
    if not n or won + lost > n:
        raise ValueError(f"a bootstrap cannot be drawn from {won} won and {lost} lost of {n} tasks")
    counts = np.random.default_rng(seed).multinomial(n, np.array([won, lost, n - won - lost]) / n, resamples)
    return _percentiles((counts[:, 0] - counts[:, 1]) / n, level)


def _percentiles(values: Floats, level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _chunks(resamples: int, n: int) -> list[int]:
    """Split ``resamples`` into chunks of at most two million values, to bound the memory that a bootstrap takes."""
    max_rows = max(1, 2_000_000 // n)
    whole, rest = divmod(resamples, max_rows)
    return [max_rows] * whole + ([rest] if rest else [])


def mcnemar_power(n: int, gain: float, discordant: float, level: float = LEVEL) -> float:
    """Return the power of the exact McNemar test on ``n`` problems: the chance that it is significant in favour of the better side.

    ``discordant`` is the share of problems that only one side solves, and ``gain`` is the share won minus the share lost. The power
    is summed over all numbers of discordant problems and of wins among them, without any approximation.
    """
    _check_shares(gain, discordant)
    if not discordant:
        return 0.0
    wins = (discordant + gain) / (2 * discordant)
    m = np.arange(1, n + 1)
    return float(np.sum(binom.pmf(m, n, discordant) * binom.sf(_needed(n, level)[1:] - 1, m, wins)))


@lru_cache(maxsize=32)
def _needed(n: int, level: float) -> npt.NDArray[np.int64]:
    """Return, by the number of discordant problems m, the smallest number of wins that is significant; m + 1 where none is."""
    m = np.arange(n + 1)
    max_lost = binom.ppf(level / 2, m, 0.5)
    max_lost = max_lost - (2 * binom.cdf(max_lost, m, 0.5) > level)
    return np.asarray(m - max_lost, np.int64)


def smallest_gain(n: int, discordant: float, power: float = 0.8, level: float = LEVEL) -> float | None:
    """Return the smallest gain that is detected with this ``power`` on ``n`` problems; None where no gain is.

    ``discordant`` is the share of problems that only one side solves. A gain needs at least as large a share of discordant
    problems, so for gains above ``discordant`` the share is taken to be the gain itself.
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
    """Return the power of the primary contrast on ``n`` problems: the chance that the first of three models beats both others.

    ``shares`` are the shares of problems by who solves them: 8 numbers that sum to 1, at 4 * first + 2 * second + third. Each of
    the two tests has the exact power of ``mcnemar_power`` alone. Their joint power is approximated: the numbers of wins over both
    opponents are taken as bivariate normal, with the numbers of discordant problems at their means and a correlation that follows
    from the problems that both opponents share. Over random tables of shares it was off from an exact sum by at most 2.5 points at
    50 problems, 1.1 at 164 and 0.2 at 500. The sum and simulations are in ``benchmarks/evidence.py``.
    """
    table = np.asarray(shares, np.float64).reshape(2, 2, 2)
    if table.min() < 0 or abs(table.sum() - 1) > 1e-9:
        raise ValueError("shares must be 8 numbers of at least 0 that sum to 1")
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
    """Return the chance that two events of these chances both happen, if their normal scores have this correlation."""
    if max(first, second) > 1 - 1e-9 or correlation > 1 - 1e-9:
        return min(first, second)
    from scipy.stats import multivariate_normal

    scores = norm.ppf([first, second])
    together = multivariate_normal([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])
    return float(together.cdf(scores))


def _check_shares(gain: float, discordant: float) -> None:
    if not 0 <= discordant <= 1 or abs(gain) > discordant + 1e-12:
        raise ValueError(f"a gain of {gain:g} needs at least that share of discordant problems, not {discordant:g}")
