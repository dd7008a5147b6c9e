"""Measure what training by rewards teaches: how the share of right completions and of held-back repairs moves, step by step.

    python benchmarks/rewards.py collect [--mbpp FILE] [--limit N] [--folder runs/rewards]
    python benchmarks/rewards.py train RECIPE ... [--seeds 0 1 2] [--minutes N]
    python benchmarks/rewards.py test RECIPE ... [--seeds 0 1 2] [--sets SET ...]
    python benchmarks/rewards.py table [--records benchmarks/results/rewards]

``collect`` drafts on half of the starter set and on MBPP 651-974, as ``learning.py`` does, and puts bugs into right programs. Some
of the tasks are held back. ``train`` trains an adapter by a recipe (one of ``RECIPES``) for each seed. It goes on for hours and may
be stopped at any time: ``--minutes`` ends a sitting after the step at hand, and the same command goes on from there. ``test`` asks
a finished adapter to repair the failed programs of ``learning.py``'s sets. ``table`` prints the steps in tens, with the seconds
that rollouts, tests and gradients took, and writes the raw records, which are whole runs as ``runs export`` writes them. The other
commands write them too. All commands end with one JSON line.

A study may also go on where only its records are, for example on another machine. ``collect`` and ``train`` make the missing runs
from the records, if they are called from the same folder with the same options. The adapter is not recorded: its updates are
made again from the recorded completions, which are neither drawn nor tested again. The seconds of these steps are then those of
the repetition.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from mlx_selfdebug.models.backend import device_name

import learning
from run_records import restore_run, write_records

import mlx_selfdebug as sd
from mlx_selfdebug.config import load_config
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.progress import Bars
from mlx_selfdebug.stages.branch import branch
from mlx_selfdebug.store import Key, StoredRun, open_stored
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.training.adapter import open_adapter
from mlx_selfdebug.training.selection import REWARDS, stored_validations

COMMON: Mapping[str, Any] = {
    "train.max_pairs": 0,
    "train.reward_steps": 400,
    "train.reward_max_tokens": 200,
    "train.rank": 16,
    "train.patience": 0,
}
"""The settings of every recipe, except those that the recipe sets itself: rewards alone, from a fresh adapter.

No training ends because tries of the held-back tasks bring nothing better, so that the whole curve is seen.
"""
PAIRS: Mapping[str, Any] = {**learning.COMMON, **learning.RECIPES["own-draft-gentle"]}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "rewards": {},
    "after-pairs": {key: value for key, value in PAIRS.items() if key != "train.held_back_share"},
    "random": {"train.reward_by": "random"},
    "drafts-alone": {"train.reward_repair_share": 0.0, "train.reward_bug_share": 0.0},
    "repairs-alone": {"train.reward_draft_share": 0.0},
    "copies-cost-nothing": {"train.reward_of_copy": 0.0},
    "kl-0.02": {"train.reward_kl": 0.02},
    "rate-5e-5": {"train.reward_learning_rate": 5e-5},
    "rate-1e-4": {"train.reward_learning_rate": 1e-4},
}
COLLECTED = "collected"
"""The name of the run that all trainings learn from."""
SPAN = 10
"""The number of steps in one line of the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["collect", "train", "test", "table"])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="length of the sitting; 0 = to the end")
    parser.add_argument("--sets", nargs="*", default=list(learning.CHOOSING), metavar="SET")
    parser.add_argument(
        "--humanevalpack", default="", metavar="FILE", help="file of HumanEvalPack; from the hub if it is not given"
    )
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; from the hub if it is not given")
    parser.add_argument("--limit", type=int, default=116, help="number of tasks to learn from, or of programs in a set")
    parser.add_argument("--samples", type=int, default=4, help="number of drafts per task when collecting")
    parser.add_argument("--steps", type=int, default=COMMON["train.reward_steps"])
    parser.add_argument("--prompts", type=int, default=8, help="groups per step")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("runs/rewards"))
    parser.add_argument("--records", type=Path, default=Path("benchmarks/results/rewards"))
    options = parser.parse_args()
    if unknown := [name for name in options.recipes if name not in RECIPES]:
        parser.error(f"unknown recipe {unknown[0]!r}. Known: {', '.join(RECIPES)}")
    {"collect": collect, "train": train, "test": test, "table": table}[options.command](options)


def collect(options: argparse.Namespace) -> None:
    folder = options.folder / COLLECTED
    collect_into(folder, _tasks_file(options), options, options.samples)
    with open_stored(folder) as run:
        attempts, bugs, held = run.attempts("collect"), run.attempts("bugs"), run.facts().held_back
    row = {
        "attempts": len(attempts),
        "right": sum(a.passed for a in attempts),
        "bugs": len(bugs),
        "held_back": len(held),
    }
    print(json.dumps({"benchmark": "rewards collect", **row}))


def collect_into(folder: Path, file: Path, options: argparse.Namespace, samples: int) -> None:
    """Collect into the run ``folder`` on the tasks in ``file``, with ``samples`` drafts of each, and write the run's records."""
    restore_run(folder, options.records)
    settings = {
        "model": options.model, "collect.tasks": str(file), "collect.samples": samples, "collect.edits": 0,
        "collect.rounds": 0, "collect.forks": 0, "collect.max_tokens": 256, "collect.batch_size": options.batch,
        "train.held_back_share": 0.15, "train.max_pairs": 0,
    }  # fmt: skip
    with sd.Run(folder, load_config(overrides=settings, environment={})) as run:
        sd.collect(run, load_model(options.model), load_tasks(str(file)), progress=Bars())
    write_records(folder, options.records)


def _tasks_file(options: argparse.Namespace) -> Path:
    """Return the file of the tasks to learn from, which is made if it is missing."""
    file: Path = options.folder / "tasks.jsonl"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        dump_tasks(learning._tasks_to_learn_from(options), file)
    return file


def train(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    _tasks_file(options)
    restore_run(options.folder / COLLECTED, options.records)
    sitting = Sitting(options.minutes)
    with suppress(SittingOverError):
        for name in options.recipes:
            for seed in options.seeds:
                folder = _folder(options, name, seed)
                if not restore_run(folder, options.records):
                    _branch(options, name, seed, folder)
                with sd.Run(folder) as run:
                    sd.train(run, model, progress=sitting)
    table(options)


def _folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    folder: Path = options.folder / "adapters" / f"{name}-{seed}"
    return folder


def _branch(options: argparse.Namespace, name: str, seed: int, folder: Path) -> None:
    sizes = {"train.reward_steps": options.steps, "train.reward_prompts": options.prompts}
    with open_stored(options.folder / COLLECTED) as source:
        recipe = {**COMMON, **sizes, **RECIPES[name], "seed": seed}
        branch(source, folder, load_config(overrides=recipe, base=source.config, environment={}))


class SittingOverError(Exception):
    """The time of a sitting is over."""


class Sitting:
    """A progress that prints a line per note, and ends the sitting after a step when its time is over."""

    def __init__(self, minutes: float) -> None:
        self._begin, self._minutes = time.monotonic(), minutes
        self._name, self._done = "", 0

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Sitting]:
        self._name, self._done = f"{name}, {unit} of {total}", 0
        yield self

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        minutes = (time.monotonic() - self._begin) / 60
        print(f"{minutes:7.1f} min  {self._name}: {self._done}  {note}", file=sys.stderr, flush=True)
        if n == 1 and self._minutes and minutes >= self._minutes:
            raise SittingOverError


def test(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    options.limit = 0
    plays = learning._plays(options, model)
    for name in options.recipes:
        for seed in options.seeds:
            with sd.Run(_folder(options, name, seed)) as run, open_adapter(run.adapter_path).applied(model):
                learning._play_all(plays, run, model)
    learning.table(options)


def table(options: argparse.Namespace) -> None:
    rows: dict[str, Any] = {}
    for folder in sorted((options.folder / "adapters").glob("*/config.toml")):
        with open_stored(folder.parent) as run:
            rows[folder.parent.name] = _show(folder.parent.name, run)
        write_records(folder.parent, options.records)
    machine = {"machine": platform.machine(), "device": device_name(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "rewards", "model": options.model, **machine, "recipes": rows}))


def _show(name: str, run: StoredRun) -> dict[str, Any]:
    """Print the steps of one run in tens, and return its figures."""
    steps, validations = run.reward_steps(), stored_validations(run, REWARDS)
    columns = ("reward", "passed", "copies", "varied_share", "n_tokens", "rollouts_s", "tests_s", "gradient_s")
    print(f"{name:22}" + "".join(f"{column:>13}" for column in columns))
    spans = []
    for start in range(0, len(steps), SPAN):
        span = steps[start : start + SPAN]
        row = {column: mean(getattr(step, column) for step in span) for column in columns}
        spans.append({"first": start, "steps": len(span), **row})
        print(f"{f'steps {start}-{start + len(span) - 1}':22}" + "".join(f"{row[c]:13.3f}" for c in columns))
    for validation in validations:
        print(f"held back, after {validation.step} steps: {validation.repaired} of {validation.attempts} repaired")
    ending = run.facts().stored.get(Key.REWARD_ENDING)
    return {
        "steps": len(steps),
        "tens": spans,
        "validations": [asdict(validation) for validation in validations],
        "ending": ending,
    }


if __name__ == "__main__":
    main()
