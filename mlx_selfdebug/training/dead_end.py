"""Say why a run can never be trained, however often its command is given again, and what to do instead.

A run keeps the settings it was begun with, and what it has collected is not collected again. So a run whose attempts give no pairs
stays without pairs.

>>> with open_stored("runs/first") as run:                                              # doctest: +SKIP
...     print(dead_end(run))
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mlx_selfdebug.config import SETTINGS, TrainConfig
from mlx_selfdebug.store import StoredRun
from mlx_selfdebug.values.attempt import Attempt


@dataclass(frozen=True)
class DeadEnd:
    """Why a run can never be trained, and what to do instead."""

    what: str
    """What the run lacks and why, as a clause without its subject: "has no pairs to train on: every draft passed"."""
    instead: str
    """What to do instead, as a clause that ends with the command to type."""

    def __str__(self) -> str:
        return f"The run {self.what}. To go on, {self.instead}"


def dead_end(run: StoredRun) -> DeadEnd | None:
    """Return why ``run`` can never be trained. None if it can be, if it is trained, or if it may still collect."""
    facts, path, config = run.facts(), run.path, run.config
    if run.is_done("train") or run.adapter_path.exists():
        return None
    if facts.training_tasks and facts.weak_tasks.keys() >= set(facts.training_tasks):
        return DeadEnd(
            "has no tasks to learn from: every training task is left out, because their checks cannot be trusted",
            "see why with `mlx-selfdebug tasks audit SET`, then take other tasks with --collect-tasks, or keep every task: "
            + _another_run(path, "--collect-weak-share 0"),
        )
    if not run.is_done("collect"):
        return None
    if n_pairs := len(run.pairs()):
        return _too_long(path, n_pairs, config.train) if facts.n_pairs_left_out >= n_pairs else None
    return None if config.train.reward_steps else _no_pairs(run)


def _too_long(path: Path, n_pairs: int, config: TrainConfig) -> DeadEnd:
    """Return the dead end of a run all of whose pairs are too long to train on."""
    return DeadEnd(
        f"has no pairs that are short enough to train on: none of its {n_pairs} fits train.max_length = {config.max_length} tokens "
        "and the model's context",
        "train on the same attempts with longer pairs: " + _branch(path, f"--train-max-length {2 * config.max_length}"),
    )


def _no_pairs(run: StoredRun) -> DeadEnd:
    """Return why a run that has collected has no pairs. The reasons that a setting alone decides come first."""
    path, collect, train = run.path, run.config.collect, run.config.train
    lack = "has no pairs to train on:"
    if not train.max_pairs:
        default = SETTINGS["train.max_pairs"].default
        return DeadEnd(
            f"{lack} train.max_pairs is 0, and there are no reward steps",
            "make pairs of the same attempts: " + _branch(path, f"--train-max-pairs {default}"),
        )
    attempts = run.attempts("collect")
    n_samples = min(2 * collect.samples, int(SETTINGS["collect.samples"].high or 0))
    more_drafts = _another_run(path, f"--collect-samples {n_samples}")
    if attempts and all(attempt.passed for attempt in attempts):
        return DeadEnd(
            f"{lack} every draft passed, and there are no bugs to learn from instead",
            f"take harder tasks with --collect-tasks, or draft more: {more_drafts}",
        )
    if _all_cut_off(attempts):
        return DeadEnd(
            f"{lack} every failed draft was cut off at collect.max_tokens = {collect.max_tokens}",
            "let drafts be longer: " + _another_run(path, f"--collect-max-tokens {2 * collect.max_tokens}"),
        )
    if train.targets == "own" and not any(attempt.passed for attempt in attempts):
        return DeadEnd(
            f"{lack} no draft passed, and train.targets = 'own' leaves the tasks' references out",
            "take easier tasks with --collect-tasks, or learn from the references on the same attempts: "
            + _branch(path, "--train-targets reference"),
        )
    return DeadEnd(
        f"{lack} no task has both a failed program and a right one",
        f"take other tasks with --collect-tasks, or draft more: {more_drafts}",
    )


def _all_cut_off(attempts: Sequence[Attempt]) -> bool:
    """Return whether the model wrote programs that failed, and all of these were cut off at the limit of tokens."""
    failed = [attempt for attempt in attempts if not attempt.passed and attempt.kind != "edits"]
    return bool(failed) and all(attempt.finish == "length" for attempt in failed)


def _another_run(path: Path, option: str) -> str:
    """Return the command that begins a run with the settings of the run at ``path`` and ``option``."""
    settings = shlex.quote(str(path / "config.toml"))
    return f"mlx-selfdebug run --run {_free(path)} --config {settings} {option}"


def _branch(path: Path, option: str) -> str:
    """Return the commands that train on the attempts of the run at ``path`` with ``option``."""
    new = _free(path)
    return f"mlx-selfdebug runs branch {shlex.quote(str(path))} --run {new} {option} && mlx-selfdebug run --run {new}"


def _free(path: Path) -> str:
    """Return a folder beside ``path`` that does not exist yet, quoted for a shell."""
    folders = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return shlex.quote(str(next(folder for folder in folders if not folder.exists())))
