"""Measure every stage in turn, and make a record of the trials.

Each stage begins with a warm-up, which is not measured. The repetitions follow, each measured as a trial (``trial.py``). The work
of the stages is in ``stages.py``.
"""

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
"""The smallest number of repetitions. With fewer, a standard deviation says little."""


def bench(
    model: str = "qwen2.5-coder-0.5b",
    *,
    stages: Sequence[str] = work.STAGES,
    repeats: int = MIN_REPEATS,
    seed: int = 0,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Record:
    """Measure each of ``stages`` ``repeats`` times, after a warm-up, and return the record.

    The runs that the stages need are created in a temporary folder, which is deleted at the end.

    Args:
        model: the name of the model, as ``load_model`` takes it.
        stages: the names of the stages to measure, from ``stages.STAGES``.
        repeats: the number of repetitions of each stage.
        seed: the seed of the work.
        progress: reports the trials; silent by default.
        allow_weak_sandbox: whether programs are run even where they cannot be fully confined.

    Raises:
        UsageError: a stage is unknown, or there are fewer than ``MIN_REPEATS`` repetitions.
        ModelError: the model cannot be loaded.
        SandboxError: programs cannot be confined as required.
        BudgetError: the memory budget is too small for training.
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
    """Return the record of this machine. Records are published, so it has no path of the owner's."""
    weights = weights_size(model.path)
    counts = {
        "drafts": work.DRAFTS,
        "draft_tokens": work.DRAFT_TOKENS,
        "tested": work.TESTED,
        "repaired": work.REPAIRED,
        "trained": work.TRAINED,
        "evaluated": work.EVALUATED,
    }
    is_local = os.path.exists(os.path.expanduser(model.name))
    return Record(
        machine=read_machine(),
        device=device_name(),
        # The path is made absolute, because a folder that was given as "." has no name otherwise.
        model=Path(os.path.abspath(model.path)).name if is_local else model.name,
        origin="folder" if model.origin.startswith("folder:") else model.origin,
        parameters=weights.parameters,
        weights_bytes=weights.weights_bytes,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        versions=versions(),
        blas=blas.name,
        isolation=describe_isolation().level,
        size={**work.SIZE, **counts},
        stages=tuple(stages),
    )
