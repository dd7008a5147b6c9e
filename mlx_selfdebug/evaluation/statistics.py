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
import scipy  # loads scipy.stats, which takes the better part of a second, when it is used first

LEVEL = 0.05
"""The level of significance of every test."""
RESAMPLES = 10_000
"""The number of times that a bootstrap draws the tasks."""
MAX_CHUNK_VALUES = 2_000_000
"""The largest number of values per column that a bootstrap has in memory at a time: 16 MB."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A confidence interval. A format such as ``f"{interval:.1%}"`` applies to both of its ends."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self:.3g}"

    def __format__(self, spec: str) -> str:
        return f"{self.low:{spec}} to {self.high:{spec}}"


def mcnemar(won: int, lost: int) -> float:
    """Return the two-sided p value of the exact McNemar test (McNemar 1947).

    ``won`` is the number of problems that only the first side solves, and ``lost`` the number that only the second side solves.
    Under the null hypothesis, each of these problems is won or lost with equal chance.
    """
    return float(scipy.stats.binomtest(min(won, lost), won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return every p value corrected for the number of tests, in the order given (Holm 1979)."""
    n = len(p_values)
    corrected = [0.0] * n
    # From the smallest p value on, each is multiplied by the number of tests that are left. No corrected value may be smaller
    # than one before it.
    largest = 0.0
    for rank, i in enumerate(sorted(range(n), key=p_values.__getitem__)):
        largest = max(largest, (n - rank) * p_values[i])
        corrected[i] = min(1.0, largest)
    return corrected


def wilson(solved: int, n: int, level: float = 0.95) -> Interval:
    """Return the Wilson interval of the share of problems solved (Wilson 1927), or 0 to 1 if there is no problem."""
    if not n:
        return Interval(0.0, 1.0)
    interval = scipy.stats.binomtest(solved, n).proportion_ci(level, method="wilson")
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

    Each of ``columns`` holds one value per task, such as the task's mean over training seeds. A task is drawn with its values in
    all columns. ``statistic`` takes one array of shape (resamples, tasks) per column and returns an array of shape (resamples,).
    Raises ValueError if there is no task or the columns differ in length.
    """
    values = np.asarray(columns, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError("a bootstrap needs columns of one value per task, of the same length and not empty")
    rng, n = np.random.default_rng(seed), values.shape[1]
    statistics = [statistic(*values[:, rng.integers(0, n, (n_resamples, n))]) for n_resamples in _chunks(resamples, n)]
    return _percentiles(np.concatenate(statistics), level)


def bootstrap_gain(
    won: int, lost: int, n: int, *, seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Return the bootstrap interval of the share of tasks won minus the share lost, of ``n`` tasks.

    Every task is won, lost or neither, so drawing tasks with replacement amounts to drawing these three numbers from a multinomial
    distribution. This is ``bootstrap`` for such a difference, only faster. Raises ValueError if there is no task, or if more tasks
    are won and lost than there are.
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
    """Return the sizes of the chunks in which ``resamples`` samples of ``n`` tasks are drawn. Chunks bound the memory."""
    max_resamples = max(1, MAX_CHUNK_VALUES // n)
    n_whole, rest = divmod(resamples, max_resamples)
    return [max_resamples] * n_whole + ([rest] if rest else [])


def mcnemar_power(n: int, gain: float, discordant: float, level: float = LEVEL) -> float:
    """Return the power of the exact McNemar test on ``n`` problems: the chance that it is significant in favour of the better side.

    ``discordant`` is the share of problems that only one side solves, and ``gain`` is the share won minus the share lost. The power
    is summed over all numbers of discordant problems and of wins among them, without any approximation. Raises ValueError if
    ``gain`` is larger than ``discordant``, or ``discordant`` is not a share.
    """
    if not 0 <= discordant <= 1 or abs(gain) > discordant + 1e-12:
        raise ValueError(f"a gain of {gain:g} needs at least that share of discordant problems, not {discordant:g}")
    if not discordant:
        return 0.0
    p_win = (discordant + gain) / (2 * discordant)
    m = np.arange(1, n + 1)
    return float(
        np.sum(scipy.stats.binom.pmf(m, n, discordant) * scipy.stats.binom.sf(_wins_needed(n, level)[1:] - 1, m, p_win))
    )


@lru_cache(maxsize=32)
def _wins_needed(n: int, level: float) -> npt.NDArray[np.int64]:
    """Return, for each number m of discordant problems from 0 to ``n``, the smallest number of wins that is significant.

    The entry is m + 1 if even m wins are not significant.
    """
    m = np.arange(n + 1)
    # The quantile is the first number of losses whose tail reaches level / 2. If the tail exceeds it, this is one loss too many.
    max_losses = scipy.stats.binom.ppf(level / 2, m, 0.5)
    max_losses = max_losses - (2 * scipy.stats.binom.cdf(max_losses, m, 0.5) > level)
    return np.asarray(m - max_losses, np.int64)


def smallest_gain(n: int, discordant: float, power: float = 0.8, level: float = LEVEL) -> float | None:
    """Return the smallest gain that is detected with this ``power`` on ``n`` problems, or None if no gain is.

    The gain is a share of the problems, exact to 0.0001. ``discordant`` is the share of problems that only one side solves. A gain
    needs at least as large a share of discordant problems, so for gains above ``discordant`` the share is taken to be the gain
    itself.
    """
    if not n or mcnemar_power(n, 1.0, 1.0, level) < power:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if mcnemar_power(n, middle, max(middle, discordant), level) >= power:
            high = middle
        else:
            low = middle
    return high


def both_power(shares: Sequence[float], n: int, level: float = LEVEL) -> float:
    """Return the power of the primary contrast on ``n`` problems: the chance that the first of three models beats both others.

    ``shares`` holds the share of problems for each combination of models that solve them: 8 numbers that sum to 1, with the index
    4 * first + 2 * second + third, where each is 1 for a model that solves the problem and otherwise 0.

    Each of the two tests by itself has the exact power that ``mcnemar_power`` gives. Their joint power is approximated: the numbers
    of wins over both opponents are taken as bivariate normal, with the numbers of discordant problems at their means and a
    correlation that follows from the problems that both opponents share. Over random tables of shares it was off from an exact sum
    by at most 2.5 points at 50 problems, 1.1 at 164 and 0.2 at 500. The sum and simulations are in ``benchmarks/evidence.py``.

    Raises ValueError if the shares do not sum to 1 or one of them is negative.
    """
    table = np.asarray(shares, np.float64).reshape(2, 2, 2)
    if table.min() < 0 or abs(table.sum() - 1) > 1e-9:
        raise ValueError("shares must be 8 numbers of at least 0 that sum to 1")
    first, second, third = np.indices((2, 2, 2))
    # For each opponent and combination: 1 if the problem is won against the opponent, -1 if it is lost, otherwise 0.
    outcomes = [first - second, first - third]
    powers = [mcnemar_power(n, float((table * d).sum()), float((table * d**2).sum()), level) for d in outcomes]
    if min(powers) < 1e-9:
        return 0.0
    covariance = (table * outcomes[0] * outcomes[1]).sum() - (table * outcomes[0]).sum() * (table * outcomes[1]).sum()
    variances = [(table * d**2).sum() - (table * d).sum() ** 2 for d in outcomes]
    correlation = float(covariance / np.sqrt(variances[0] * variances[1])) if min(variances) > 0 else 1.0
    return _joint_chance(powers[0], powers[1], correlation)


def _joint_chance(first: float, second: float, correlation: float) -> float:
    """Return the chance that two events both happen, from the chance of each and the correlation of their normal scores."""
    if max(first, second) > 1 - 1e-9 or correlation > 1 - 1e-9:
        return min(first, second)
    scores = scipy.stats.norm.ppf([first, second])
    joint = scipy.stats.multivariate_normal([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])
    return float(joint.cdf(scores))
