"""Every domain from drafts to table: pairs are mined on some tasks of a set, trained on, and both models tried on tasks held back.

    python benchmarks/domains.py [--only NAME ...] [--train N] [--test N] [--runs runs/domains]

Each row is a run with the preset ``cpu``, made smaller; at this size it shows that a domain goes the whole way, not that anything
was learned. A domain whose package is not installed, or whose file is not given (``--gsm8k FILE``), is left out and said to be.
Resumes what its run folders have. Prints a table, then one JSON line.
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
}
SIZES = {"math": (4, 2), "reasoning": (4, 2), "pandas": (8, 4), "polars": (16, 4), "regex": (16, 5), "jq": (13, 4)}
"""Tasks to mine pairs from, and held back; 8 and 4 where nothing is said. More where the 0.5B rarely succeeds."""
MAX_TOKENS = {"math": 280, "reasoning": 60, "regex": 48, "jq": 64}


@dataclass(frozen=True)
class Row:
    """``base`` and ``adapter``: solved after repair, of the tasks held back."""

    attempts: int
    passed: int
    pairs: Mapping[str, int]
    steps: int
    base: str
    adapter: str
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS), metavar="NAME")
    parser.add_argument("--train", type=int, help="tasks to mine pairs from; 4 to 16 by default")
    parser.add_argument("--test", type=int, help="tasks held back to evaluate on; 2 to 5 by default")
    parser.add_argument("--gsm8k", default="", metavar="FILE", help="a file of GSM8K; else the hub's")
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
            rows[name] = row = whole_way(model, name, sets[name], *sizes, Path(options.runs, name))
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


def whole_way(model: Model, name: str, source: str, n_train: int, n_test: int, folder: Path) -> Row:
    started = time.monotonic()
    chosen = load_tasks(source).spread(n_train + n_test)
    held_back = chosen[:: (n_train + n_test) // n_test][:n_test]
    training = [task for task in chosen if task not in held_back]
    longest = MAX_TOKENS.get(name, 128)
    settings = {
        "model": model.name,
        "collect.samples": 4,
        "collect.max_tokens": longest,
        "train.max_pairs": 12,
        "train.epochs": 1,
        "eval.max_tokens": longest,
        "eval.tokens": longest,
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
