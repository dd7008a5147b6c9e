"""Measure every stage in turn. Each begins with a warm-up that is not counted, and then the repetitions follow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlx_selfdebug.models.backend import blas, device_name

from mlx_selfdebug.bench import stages as work
from mlx_selfdebug.bench.record import Record
from mlx_selfdebug.bench.sizes import weights_size
from mlx_selfdebug.bench.trial import StageTrials, run_trial
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.machine.this_machine import read_machine
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.sandbox.isolation import describe_isolation

MIN_REPEATS = 3
"""The smallest number of repetitions. With fewer, the standard deviation of a stage says little."""


def bench(
    model: str = "qwen2.5-coder-0.5b",
    *,
    stages: Sequence[str] = work.STAGES,
    repeats: int = MIN_REPEATS,
    seed: int = 0,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Record:
    """Measure each of ``stages`` ``repeats`` times, after a warm-up, and return the record. The runs of the work are deleted.

    Raises UsageError for an unknown stage or fewer than ``MIN_REPEATS`` repetitions, and whatever the stages themselves raise:
    ModelError, SandboxError or BudgetError.
    """
    if unknown := [name for name in stages if name not in work.STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}. Known: {', '.join(work.STAGES)}")
    if repeats < MIN_REPEATS:
        raise UsageError(f"repeats is {repeats}, but at least {MIN_REPEATS} are needed to show how far they differ")
    with tempfile.TemporaryDirectory(prefix="mlx-selfdebug-bench-") as folder:
        workbench = work.Workbench(model, Path(folder), seed=seed, allow_weak_sandbox=allow_weak_sandbox)
        with (progress or NullProgress()).stage("bench", len(stages) * (repeats + 1), "trials") as bar:
            measured = []
            for name in stages:
                bar.advance(0, name)
                workbench.work(name)()
                bar.advance(1, f"{name}: warm-up")
                trials = []
                for n in range(repeats):
                    trials.append(run_trial(workbench.work(name)))
                    bar.advance(1, f"{name}: {n + 1} of {repeats}")
                measured.append(StageTrials(name, tuple(trials)))
        return _record(workbench.model, measured)


def _record(model: Model, stages: Sequence[StageTrials]) -> Record:
    """Return the record of this machine, without any path of its owner."""
    size = weights_size(model.path)
    sizes = {"drafts": work.DRAFTS, "draft_tokens": work.DRAFT_TOKENS, "tested": work.TESTED}
    sizes |= {"repaired": work.REPAIRED, "trained": work.TRAINED, "evaluated": work.EVALUATED}
    return Record(
        machine=read_machine(),
        device=device_name(),
        # Records are published, so only the name of a local model's folder is kept. A folder that was given as "." has none yet.
        model=Path(os.path.abspath(model.path)).name if os.path.exists(os.path.expanduser(model.name)) else model.name,
        origin=model.origin if not model.origin.startswith("folder:") else "folder",
        parameters=size.parameters,
        weights_bytes=size.weights_bytes,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        versions=versions(),
        blas=blas.name,
        isolation=describe_isolation().level,
        size={**work.SIZE, **sizes},
        stages=tuple(stages),
    )
