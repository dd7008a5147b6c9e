"""Take every domain the whole way: mine pairs on some tasks of a set, train on them, and evaluate both models on other tasks.

    python benchmarks/domains.py [--only NAME ...] [--train N] [--test N] [--runs runs/domains]

Each row of the table is a run with the preset ``cpu``, made smaller. At this size it shows that a domain goes the whole way, not
that anything was learned. A domain is left out, and named, if its package is not installed or its tasks cannot be had: the file of
GSM8K can be given with ``--gsm8k FILE``. A run whose folder exists is resumed. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.models.backend import device_name

import mlx_selfdebug as sd
from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.tasks import load_tasks

SETS = {
    "python": "starter-mixed",
    "sql": "garden",
    "duckdb": "garden-duckdb",
    "math": "gsm8k",
    "reasoning": "reasoning-gym:chain_sum,size=40,seed=0,min_terms=2,max_terms=3,min_digits=1,max_digits=2",
    "pandas": "pandas",
    "polars": "polars",
    "regex": "regex",
    "jq": "jq",
    "proof": "proofs",
}
SIZES = {
    "math": (4, 2),
    "reasoning": (4, 2),
    "pandas": (8, 4),
    "polars": (16, 4),
    "regex": (16, 5),
    "jq": (13, 4),
    "proof": (24, 8),
}
"""By domain, the number of tasks to mine pairs from and the number held back; the other domains have 8 and 4.

Domains in which the 0.5B model rarely succeeds have more.
"""
MAX_TOKENS = {"math": 280, "reasoning": 60, "regex": 48, "jq": 64, "proof": 96}
"""By domain, the largest number of tokens in an answer; the other domains have 128."""


@dataclass(frozen=True)
class Row:
    """The outcome of one domain."""

    attempts: int
    """Attempts that were collected."""
    passed: int
    """Attempts among them that passed."""
    pairs: Mapping[str, int]
    """The number of pairs of each kind that were mined."""
    steps: int
    """Steps of the training."""
    base: str
    """Tasks held back that the base model solves after repair, of how many, such as "2/4"; "-" if there were no pairs."""
    adapter: str
    """The same for the trained model."""
    seconds: float
    """Wall time of this call, which a resumed run makes shorter."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS), metavar="NAME")
    parser.add_argument("--train", type=int, help="number of tasks to mine pairs from; 4 to 16 by default")
    parser.add_argument("--test", type=int, help="number of tasks held back to evaluate on; 2 to 5 by default")
    parser.add_argument("--gsm8k", default="", metavar="FILE", help="file of GSM8K; from the hub if it is not given")
    parser.add_argument("--runs", default="runs/domains")
    options = parser.parse_args()
    sets = SETS | ({"math": f"gsm8k:{options.gsm8k}"} if options.gsm8k else {})
    model = sd.load_model(options.model)
    print(
        f"{'':10}{'attempts':>9}{'passed':>8}{'repair':>8}{'direct':>8}{'keep':>6}{'steps':>7}{'base':>8}{'adapter':>9}{'s':>7}"
    )
    rows: dict[str, Row] = {}
    for name in options.only:
        try:
            n_train, n_test = SIZES.get(name, (8, 4))
            sizes = options.train or n_train, options.test or n_test
            rows[name] = row = run_domain(model, name, sets[name], *sizes, Path(options.runs, name))
        except SelfDebugError as error:
            print(f"{name:10} left out: {error}")
            continue
        pairs = "".join(f"{row.pairs[kind]:{width}}" for kind, width in (("repair", 8), ("direct", 8), ("keep", 6)))
        print(
            f"{name:10}{row.attempts:9}{row.passed:8}{pairs}{row.steps:7}{row.base:>8}{row.adapter:>9}{row.seconds:7.0f}",
            flush=True,
        )
    machine = {"machine": platform.machine(), "device": device_name()}
    print(
        json.dumps(
            {"benchmark": "domains", "model": options.model, **machine, "rows": {n: vars(r) for n, r in rows.items()}}
        )
    )


def run_domain(model: Model, name: str, source: str, n_train: int, n_test: int, folder: Path) -> Row:
    started = time.monotonic()
    chosen = load_tasks(source).spread(n_train + n_test)
    held_back = chosen[:: (n_train + n_test) // n_test][:n_test]
    training = [task for task in chosen if task not in held_back]
    max_tokens = MAX_TOKENS.get(name, 128)
    settings = {
        "model": model.name,
        "collect.samples": 4,
        "collect.max_tokens": max_tokens,
        "train.max_pairs": 12,
        "train.epochs": 1,
        "eval.max_tokens": max_tokens,
        "eval.tokens": max_tokens,
    }
    with sd.Run(folder, sd.load_config(overrides=settings, default_preset="cpu")) as run:
        attempts = sd.collect(run, model, training)
        pairs = run.pairs()
        kinds = {kind: sum(pair.kind == kind for pair in pairs) for kind in ("repair", "direct", "keep")}
        passed = sum(attempt.passed for attempt in attempts)
        if not pairs:
            return Row(len(attempts), passed, kinds, 0, "-", "-", time.monotonic() - started)
        adapter = sd.train(run, model, tasks=training)
        result = sd.evaluate(run, model, adapter, held_back)
        solved = {side: getattr(result, side).after_repair.problems for side in ("base", "adapter")}
        steps = len(run.steps())
    texts = {side: f"{done}/{total}" for side, (done, total) in solved.items()}
    return Row(len(attempts), passed, kinds, steps, texts["base"], texts["adapter"], time.monotonic() - started)


if __name__ == "__main__":
    main()
