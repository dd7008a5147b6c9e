"""Measure what training teaches about repairing: train adapters on different pairs and ask each to repair failed programs.

    python benchmarks/learning.py collect [--mbpp FILE] [--limit N] [--folder runs/learning]
    python benchmarks/learning.py train NAME ... [--seeds 0 1 2] [--sets SET ...]
    python benchmarks/learning.py base [--sets SET ...]
    python benchmarks/learning.py table [--records benchmarks/results/learning]

``collect`` makes what all trainings learn from. It drafts on half of the starter set and on MBPP 651-974, and puts bugs into right
programs. ``train`` makes the pairs of a recipe (one of ``RECIPES``), trains an adapter for each seed and asks it to repair the
failed programs of each set. It is asked for one greedy repair, and shown the code and the facts of the failed public checks. A
repair is right if it passes all checks, the public and the hidden ones. ``base`` asks the model without an adapter. Run it before
``train`` on the sets of own failures, since a set is made by the model that uses it first. ``table`` prints all results, writes the
raw records (one line per attempt) and ends with one JSON line. Everything is resumed: a training from its checkpoint, a set from
its stored repairs.

A recipe is chosen on ``choose-bugs`` and ``choose-own`` (MBPP 601-650, never trained on here). It is then tested once on these:

``fix``                        HumanEvalFix
``starter``                    bugs in the other half of the starter set
``own-humaneval, own-mbpp``    the base's own greedy drafts that failed
``drafts``                     first drafts of HumanEval's tasks, which training should not make worse
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from mlx_selfdebug.models.backend import device_name

from reading import GIVEN, LIMITS, Unit, learned_on, set_from, to_choose_on, units_of

import mlx_selfdebug as sd
from mlx_selfdebug.config import load_config
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.progress import Bars
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import Greedy, Repair, passed_in_public
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox import TestRunner
from mlx_selfdebug.stages.branch import branch
from mlx_selfdebug.store import open_stored
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

CHOOSING = ("choose-bugs", "choose-own")
COMMON: Mapping[str, Any] = {
    "train.targets": "reference",
    "train.repair_share": 0.25,
    "train.bug_share": 0.5,
    "train.direct_share": 0.125,
    "train.keep_share": 0.125,
    "train.minimal_share": 0.5,
    "train.copied_weight": 1.0,
    "train.max_pairs": 96,
    "train.epochs": 1,
    "train.rank": 16,
    "train.learning_rate": 2e-4,
    "train.held_back_share": 0.0,
}
"""The settings of every recipe, except those that the recipe sets itself. Two cores train 96 pairs in about ten minutes."""
OWN_DRAFT: Mapping[str, Any] = {"train.minimal_share": 0.0, "train.targets": "own"}
"""Targets that the model wrote itself without sight of the bug, and nothing from tasks that it has not solved."""
GENTLE: Mapping[str, Any] = {"train.learning_rate": 1e-4, "train.rank": 8, "train.max_pairs": 64}
"""Fewer and smaller steps."""
CHANGES: Mapping[str, Any] = {"train.copied_weight": 0.2, "train.learning_rate": 5e-4, "train.max_pairs": 64}
"""Few and large steps, mostly on the tokens that change the code."""
DISTILLED: Mapping[str, Any] = {"train.distilled_share": 0.5, "train.rank": 8, "train.max_pairs": 64}
"""Half of each target token's weight goes to imitating the base, which is shown the task alone."""
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "mixed": {},
    "minimal": {"train.minimal_share": 1.0},
    "own-draft": OWN_DRAFT,
    "own-draft-gentle": {**OWN_DRAFT, **GENTLE},
    "distilled": {**OWN_DRAFT, **DISTILLED},
    "distilled-alone": {**OWN_DRAFT, **DISTILLED, "train.distilled_share": 1.0},
    "distilled-minimal": {**DISTILLED, "train.minimal_share": 1.0},
    "own-draft-changes": {**CHANGES, "train.minimal_share": 0.0},
    "minimal-changes": {**CHANGES, "train.minimal_share": 1.0},
    "copied-0.2": {"train.copied_weight": 0.2},
    "copied-0": {"train.copied_weight": 0.0},
    "pairs-320": {"train.max_pairs": 320},
    "blanked": {"train.blank_share": 0.3},
    "rate-1e-4": {"train.learning_rate": 1e-4},
    "rate-5e-4": {"train.learning_rate": 5e-4},
    "rank-8": {"train.rank": 8},
    "one-fact": {"train.hide_facts_share": 1.0},
    "facts-of-others": {"train.facts": "other"},
    "no-facts": {"train.facts": "none"},
    "no-bugs": {"train.repair_share": 0.75, "train.bug_share": 0.0},
    "direct-alone": {
        "train.repair_share": 0.0, "train.bug_share": 0.0, "train.direct_share": 1.0, "train.keep_share": 0.0
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["collect", "train", "base", "table"])
    parser.add_argument("recipes", nargs="*", metavar="NAME", help=f"recipes to train: {', '.join(RECIPES)}")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sets", nargs="*", default=list(CHOOSING), metavar="SET")
    parser.add_argument(
        "--humanevalpack", default="", metavar="FILE", help="file of HumanEvalPack; from the hub if it is not given"
    )
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; from the hub if it is not given")
    parser.add_argument(
        "--limit", type=int, default=0, help="number of tasks to learn from, or of programs in a set; 0 = all"
    )
    parser.add_argument("--samples", type=int, default=4, help="number of drafts per task to learn from")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--folder", type=Path, default=Path("runs/learning"))
    parser.add_argument("--records", type=Path, default=Path("benchmarks/results/learning"))
    options = parser.parse_args()
    if unknown := [name for name in options.recipes if name not in RECIPES]:
        parser.error(f"unknown recipe {unknown[0]!r}. Known: {', '.join(RECIPES)}")
    {"collect": collect, "train": train, "base": base, "table": table}[options.command](options)


def collect(options: argparse.Namespace) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / "tasks.jsonl"
    if not file.exists():
        dump_tasks(_tasks_to_learn_from(options), file)
    settings = {
        "model": options.model,
        "collect.tasks": str(file),
        "collect.samples": options.samples,
        "collect.edits": 0,
        "collect.rounds": 0,
        "collect.forks": 0,
        "collect.max_tokens": 256,
        "collect.batch_size": options.batch,
        "train.held_back_share": 0.0,
    }
    with sd.Run(options.folder / "collected", load_config(overrides=settings, environment={})) as run:
        attempts = sd.collect(run, load_model(options.model), load_tasks(str(file)), progress=Bars())
        bugs = run.attempts("bugs")
    solved = len({attempt.task_id for attempt in attempts if attempt.passed})
    row = {"attempts": len(attempts), "right": sum(a.passed for a in attempts), "solved": solved, "bugs": len(bugs)}
    print(json.dumps({"benchmark": "learning collect", **row}))


def _tasks_to_learn_from(options: argparse.Namespace) -> list[Task]:
    mbpp = load_tasks(set_from("mbpp-train", options.mbpp))
    aside = {task.id for task in to_choose_on(mbpp)}
    starter = [task for task in load_tasks("starter") if learned_on(task)]
    tasks = [task for task in (*starter, *mbpp) if task.public and task.id not in aside]
    if 0 < options.limit < len(tasks):
        tasks = [tasks[i * len(tasks) // options.limit] for i in range(options.limit)]
    return tasks


def train(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    plays = _plays(options, model)
    for name in options.recipes:
        for seed in options.seeds:
            folder = options.folder / "adapters" / f"{name}-{seed}"
            if not (folder / "config.toml").exists():
                with open_stored(options.folder / "collected") as source:
                    recipe = {**COMMON, **RECIPES[name], "seed": seed}
                    branch(source, folder, load_config(overrides=recipe, base=source.config, environment={}))
            with sd.Run(folder) as run:
                adapter = sd.train(run, model, progress=Bars())
                with adapter.applied(model):
                    _play_all(plays, run, model)
            table(options)


def base(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    with sd.Run(options.folder / "adapters" / "base", _config(options)) as run:
        _play_all(_plays(options, model), run, model)
    table(options)


def _config(options: argparse.Namespace) -> sd.Config:
    return load_config(overrides={"model": options.model}, environment={})


def _plays(options: argparse.Namespace, model: Model) -> list[Play]:
    """Return what every model is asked on the sets. ``model`` is the base, which drafts the failed programs of its own here."""
    decoding = Decoding(0.0, 0.0, 300, options.batch, 6 * 10**9, 700 * 10**6)
    with TestRunner(2, LIMITS) as runner:
        return [
            _drafts(options, decoding) if name == "drafts" else _repairs(name, options, decoding, runner, model)
            for name in options.sets
        ]


def _play_all(plays: Sequence[Play], run: sd.Run, model: Model) -> None:
    """Have the model answer the sets, with the adapter that is applied."""
    with TestRunner(2, LIMITS) as runner:
        for play in plays:
            with Bars().stage(f"{run.path.name}: {play.arm}", len(play.tasks), "programs") as stage:
                Stream(run, model, runner, stage).play(play)


def _drafts(options: argparse.Namespace, decoding: Decoding) -> Play:
    tasks = list(load_tasks(set_from("humanevalpack", options.humanevalpack)))
    return Play("drafts", tasks[: options.limit or None], Greedy(), decoding)


def _repairs(name: str, options: argparse.Namespace, decoding: Decoding, runner: TestRunner, model: Model) -> Play:
    """Return the play of one greedy repair per failed program of a set.

    The failed programs are stored when a set is first used, so that all models repair the same ones.
    """
    with sd.Run(options.folder / "sets" / name, _config(options)) as stored:
        units: list[Unit] = units_of(name, options, stored, runner, model)
    given = {unit.task.id: [unit.given] for unit in units}
    return Play(name, [unit.task for unit in units], Repair(1, passed_in_public, 0.0), decoding, given)


def table(options: argparse.Namespace) -> None:
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'':20}{'':14}{'programs':>9}{'right':>8}{'copies':>8}{'tokens each':>12}")
    for folder in sorted((options.folder / "adapters").iterdir()):
        with open_stored(folder) as run:
            made = run.attempts()
            steps = run.steps()
        rows[folder.name] = {"steps": len(steps), "sets": {}}
        for name in (*CHOOSING, "fix", "starter", "own-humaneval", "own-mbpp", "drafts"):
            of_set = [attempt for attempt in made if attempt.arm == name]
            if of_set:
                rows[folder.name]["sets"][name] = row = _row(name, of_set, options)
                print(f"{folder.name:20}{name:14}{row['n']:9}{row['right']:8}{row['copies']:8}{row['tokens']:12.1f}")
        _write_records([attempt for attempt in made if attempt.arm not in ("collect", "bugs")], options, folder.name)
    machine = {"machine": platform.machine(), "device": device_name(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "learning", "model": options.model, **machine, "recipes": rows}))


def _row(name: str, made: Sequence[Attempt], options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, str] = {}
    if name != "drafts":
        with open_stored(options.folder / "sets" / name) as stored:
            given = {attempt.id: attempt.code for attempt in stored.attempts(GIVEN)}
    normalise = domain_of("python").normalise
    return {
        "n": len(made),
        "right": sum(attempt.passed and attempt.public.passed for attempt in made),
        "copies": sum(normalise(attempt.code) == normalise(given.get(attempt.parent, "")) for attempt in made),
        "tokens": mean(attempt.n_completion_tokens for attempt in made),
    }


def _write_records(made: Sequence[Attempt], options: argparse.Namespace, name: str) -> None:
    """Write one line per attempt. The same attempts give the same bytes."""
    names = ("task_id", "arm", "finish", "public_outcome", "outcome", "n_completion_tokens", "code")
    rows = [{key: record[key] for key in names} for record in (attempt.to_record() for attempt in made)]
    options.records.mkdir(parents=True, exist_ok=True)
    with (options.records / f"{name}.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.writelines((json.dumps(row) + "\n").encode() for row in rows)


if __name__ == "__main__":
    main()
