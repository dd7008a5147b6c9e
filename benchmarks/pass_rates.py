"""Measure how often a model's drafts pass each task of a set, which shows the tasks that it can learn something from.

    python benchmarks/pass_rates.py [--tasks starter] [--samples 8] [--max-tokens N] [--run runs/pass-rates] [--write]

The drafts are sampled at collect's temperature and judged by the hidden checks. The table shows how the tasks of each theme spread
over the number of drafts that pass. A task is *mixed* if some of its drafts pass and some do not. ``--write`` records ``pass_rate``
and ``difficulty`` in the files of the starter set, or of ``proofs``. A task is easy if at least three quarters of its drafts pass,
hard if at most one passes, and medium otherwise. A run whose folder exists is resumed. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mlx_selfdebug.models.backend import device_name

import mlx_selfdebug as sd
from mlx_selfdebug.config import CollectConfig, Config
from mlx_selfdebug.store.files import write_atomically
from mlx_selfdebug.tasks.load import STARTER_FOLDER
from mlx_selfdebug.tasks.sets.proofs import FOLDER as PROOFS_FOLDER
from mlx_selfdebug.values.attempt import Attempt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--tasks", default="starter")
    parser.add_argument("--limit", type=int, default=0, help="use this many tasks, spread over the set; 0 = all")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=CollectConfig().max_tokens)
    parser.add_argument("--run", default="runs/pass-rates")
    parser.add_argument("--write", action="store_true", help="record the rates in the files of the starter set")
    options = parser.parse_args()
    tasks = sd.load_tasks(options.tasks).spread(options.limit)
    drafts = CollectConfig(
        samples=options.samples, rounds=0, edits=0, forks=0, weak_share=0.0, max_tokens=options.max_tokens
    )
    config = Config(model=options.model, collect=drafts)
    with sd.Run(options.run, config) as run:
        rates = pass_rates(sd.collect(run, sd.load_model(options.model), tasks))
    show(rates, options.samples)
    if options.write:
        (record_in_proofs if options.tasks == "proofs" else record)(rates, options.samples)
    mixed = sum(0 < rate < 1 for rate in rates.values())
    machine = {"machine": platform.machine(), "device": device_name()}
    counts = {"tasks": len(rates), "mixed": mixed, "mean": sum(rates.values()) / len(rates)}
    print(
        json.dumps({"benchmark": "pass_rates", "model": options.model, "samples": options.samples, **machine, **counts})
    )


def pass_rates(attempts: Sequence[Attempt]) -> dict[str, float]:
    """Return the share of attempts that pass, by task."""
    drawn = Counter(attempt.task_id for attempt in attempts)
    passed = Counter(attempt.task_id for attempt in attempts if attempt.passed)
    return {task_id: passed[task_id] / n for task_id, n in drawn.items()}


def show(rates: Mapping[str, float], samples: int) -> None:
    """Print one row per theme: the number of its tasks of which 0, 1, ... drafts pass."""
    print(
        f"{'passed of ' + str(samples):16}"
        + "".join(f"{n:4}" for n in range(samples + 1))
        + f"{'tasks':>8}{'mixed':>7}{'mean':>7}"
    )
    themes = sorted({task_id.rpartition("/")[0] for task_id in rates})
    for theme in [*themes, ""]:
        chosen = [rate for task_id, rate in rates.items() if task_id.startswith(theme)]
        counts = Counter(round(rate * samples) for rate in chosen)
        mixed = sum(0 < rate < 1 for rate in chosen)
        cells = "".join(f"{counts[n] or '.':>4}" for n in range(samples + 1))
        print(f"{theme.rpartition('/')[2] or 'all':16}{cells}{len(chosen):8}{mixed:7}{sum(chosen) / len(chosen):7.0%}")


def record_in_proofs(rates: Mapping[str, float], samples: int) -> None:
    """Write the rates into the comments before the theorems, in place of those that are there."""
    for file in PROOFS_FOLDER.glob("*.v"):
        text = file.read_text(encoding="utf-8")
        for task_id, rate in rates.items():
            lines = f"\n   pass_rate: {round(rate, 4):g}\n   difficulty: {difficulty(rate, samples)} *)"
            # The comment that ends right before the theorem of this name.
            mark = rf"(?:\n   pass_rate: [^\n]*)?(?:\n   difficulty: [^\n]*)?\s*\*\)(?=\nTheorem {task_id.rpartition('/')[2]}\b)"
            text = re.sub(mark, lines, text)
        write_atomically(file, text)


def record(rates: Mapping[str, float], samples: int) -> None:
    for file in STARTER_FOLDER.glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if line["id"] in rates:
                line["difficulty"] = difficulty(rates[line["id"]], samples)
                line["pass_rate"] = round(rates[line["id"]], 4)
        write_atomically(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def difficulty(rate: float, samples: int) -> str:
    return "easy" if rate >= 0.75 else "medium" if rate * samples > 1 else "hard"


if __name__ == "__main__":
    main()
