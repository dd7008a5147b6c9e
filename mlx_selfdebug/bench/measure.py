"""Every stage in turn: a warm-up that is not counted, then the repetitions."""

from __future__ import annotations

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
from mlx_selfdebug.machine.facts import read_machine
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.sandbox.isolation import describe_isolation

FEWEST = 3


def bench(
    model: str = "qwen2.5-coder-0.5b",
    *,
    stages: Sequence[str] = work.STAGES,
    repeats: int = FEWEST,
    seed: int = 0,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
) -> Record:
    """Measure ``stages``, each ``repeats`` times after one that is not counted. Nothing is kept but the record.

    Raises UsageError for a stage there is none of, or fewer than three repetitions; ModelError, SandboxError and BudgetError as the
    stages would.
    """
    if unknown := [name for name in stages if name not in work.STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}. Known: {', '.join(work.STAGES)}")
    if repeats < FEWEST:
        raise UsageError(f"{repeats} repetitions: {FEWEST} are the fewest that show how far they differ")
    with tempfile.TemporaryDirectory(prefix="mlx-selfdebug-bench-") as folder:
        bench = work.Workbench(model, Path(folder), seed=seed, allow_weak_sandbox=allow_weak_sandbox)
        with (progress or NullProgress()).stage("bench", len(stages) * (repeats + 1), "trials") as bar:
            found = []
            for name in stages:
                bar.advance(0, name)
                bench.work(name)()
                bar.advance(1, f"{name}: warm")
                trials = []
                for n in range(repeats):
                    trials.append(run_trial(bench.work(name)))
                    bar.advance(1, f"{name}: {n + 1} of {repeats}")
                found.append(StageTrials(name, tuple(trials)))
        return _record(bench.model, found)


def _record(model: Model, stages: Sequence[StageTrials]) -> Record:
    size = weights_size(model.path)
    sizes = {"drafts": work.DRAFTS, "draft_tokens": work.DRAFT_TOKENS, "tested": work.TESTED}
    sizes |= {"repaired": work.REPAIRED, "trained": work.TRAINED, "evaluated": work.EVALUATED}
    return Record(
        machine=read_machine(),
        device=device_name(),
        model=model.path.name if Path(model.name).exists() else model.name,  # a path is nobody else's business
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
