"""Summarize a run in numbers: write ``summary.json``, the last file that a run writes, and show it as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlx_selfdebug.columns import columns
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.evaluation.result import Result
from mlx_selfdebug.machine.this_machine import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.reporting.words import gigabytes
from mlx_selfdebug.store import Key, Run, StoredRun, write_atomically
from mlx_selfdebug.training.dead_end import dead_end
from mlx_selfdebug.training.rollouts import ARM as REWARD_ARM
from mlx_selfdebug.training.selection import REWARDS, stored_validations
from mlx_selfdebug.values.pair import KINDS
from mlx_selfdebug.values.step import RewardStep

REWARD_SPAN = 10
"""The number of reward steps over which the summary takes means: the first ones, and the last ones."""


def summarize(run: Run, result: Result | None) -> dict[str, Any]:
    """Return the summary as plain data. Its keys "base", "adapter" and "bugs" are None if the run was not evaluated."""
    config, attempts, pairs = run.config, run.attempts(), run.pairs()
    kinds = Counter(pair.kind for pair in pairs)
    facts = run.facts()
    scores = result.to_dict() if result else {"base": None, "adapter": None, "bugs": None}
    return {
        "model": config.model,
        "origin": facts.model,
        "preset": config.preset,
        "seed": config.seed,
        "versions": versions(),
        "hardware": hardware(),
        "isolation": facts.isolation,
        "stages": {
            name: {"wall_s": stage.wall_s, "peak_bytes": stage.peak_bytes} for name, stage in run.stages().items()
        },
        "attempts": {
            "total": len(attempts),
            "by_arm": dict(sorted(Counter(_arm(a.arm) for a in attempts).items())),
            "collect_by_outcome": dict(
                Counter(a.verdict.outcome for a in attempts if a.arm == "collect").most_common()
            ),
            "tidied": dict(sorted(Counter(step for a in attempts for step in a.tidied).items())),
            "completion_tokens": sum(a.n_completion_tokens for a in attempts),
        },
        "pairs": {kind: kinds[kind] for kind in KINDS},
        "training": _training(run),
        "rewards": _rewards(run),
        "evaluation_tasks": facts.evaluation_tasks,
        **scores,
    }


def _arm(name: str) -> str:
    """Return the name under which the attempts of an arm are counted. All steps of training by rewards share one name."""
    return REWARD_ARM if name.startswith(f"{REWARD_ARM}/") else name


def write_summary(run: Run, result: Result | None) -> dict[str, Any]:
    """Write ``summary.json``, whole or not at all, and return the summary. Raises StoreError if it cannot be written."""
    summary = summarize(run, result)
    write_atomically(run.summary_path, json.dumps(summary, indent=2) + "\n")
    return summary


def read_summary(run: StoredRun) -> dict[str, Any]:
    """Read the summary of a run. Raises StoreError if the run is not finished or the file is damaged."""
    file, command = run.summary_path, f"mlx-selfdebug run --run {run.path}"
    try:
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if end := dead_end(run):
            raise StoreError(f"the run {run.path} {end.what}", hint=end.instead) from None
        raise StoreError(f"the run {run.path} is not finished: it has no summary.json", hint=command) from None
    except ValueError as error:
        raise StoreError(f"{file} is damaged: {error}", hint=f"remove the file, then run: {command}") from None
    return summary


def summary_text(summary: Mapping[str, Any], result: Result | None) -> str:
    """Return a summary as text: the attempts and pairs, the result of the evaluation, and time and memory per stage."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["pairs"].items())
    parts = [
        f"model {summary['model']} · preset {summary['preset']} · seed {summary['seed']} · test runner: {summary['isolation']}",
        f"{summary['attempts']['total']} attempts, pairs: {kinds}",
    ]
    if result:
        parts.append(str(result))
    return "\n\n".join([*parts, stage_table(summary["stages"])])


def stage_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the seconds and the peak memory of each stage. ``stages`` is the entry of that name in a summary."""
    rows = [["stage", "seconds", "peak GB"]]
    rows += [[name, f"{stage['wall_s']:.1f}", gigabytes(stage["peak_bytes"])] for name, stage in stages.items()]
    return columns(rows, right=(1, 2))


def _training(run: Run) -> dict[str, Any] | None:
    """Return the training on pairs in numbers, or None if no step of it was made."""
    steps = run.steps()
    if not steps:
        return None
    facts = run.facts()
    return {
        "steps": len(steps),
        "steps_skipped": steps[-1].step + 1 - len(steps),
        "first_loss": steps[0].loss,
        "last_loss": steps[-1].loss,
        "pairs_left_out": facts.n_pairs_left_out,
        "held_back": list(facts.held_back),
        "validations": [asdict(validation) for validation in stored_validations(run)],
    }


def _rewards(run: Run) -> dict[str, Any] | None:
    """Return the training by rewards in numbers, or None if no step of it was made."""
    steps = run.reward_steps()
    if not steps:
        return None
    return {
        "steps": len(steps),
        "first": _means(steps[:REWARD_SPAN]),
        "last": _means(steps[-REWARD_SPAN:]),
        "ending": run.facts().stored.get(Key.REWARD_ENDING),
        "validations": [asdict(validation) for validation in stored_validations(run, REWARDS)],
    }


def _means(steps: Sequence[RewardStep]) -> dict[str, float]:
    """Return the means of the figures that show how training by rewards goes."""
    names = ("reward", "passed", "copies", "varied_share", "n_tokens")
    return {name: sum(getattr(step, name) for step in steps) / len(steps) for name in names}
