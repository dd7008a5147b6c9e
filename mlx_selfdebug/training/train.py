"""Train: LoRA on a run's pairs, the completion's tokens alone, in a seeded order, the loss recorded step by step.

A training that was cut short goes on from its last checkpoint and ends with the adapter it would have had, bit for bit. It runs in
this process; the command line gives it one of its own (``cli/supervise.py``).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

from mlx_selfdebug.models.backend import mx, optim

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.stage import measured
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, open_adapter, remove_adapter, save_adapter
from mlx_selfdebug.training.checkpoint import newest_checkpoint, save_checkpoint
from mlx_selfdebug.training.examples import Example, encode_pairs
from mlx_selfdebug.training.loop import Shape, Step, count_steps, optimizer_of, train_steps
from mlx_selfdebug.training.plan import Planner, TrainingPlan, Workload, processes_bytes

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""Seconds of training that a kill may cost."""


def train(run: Run, model: Model, *, progress: Progress | None = None, smaller: int = 0) -> Adapter:
    """LoRA-train ``model`` on the run's pairs and save the adapter; ``model`` is the base again afterwards.

    How much is computed at a time follows from ``budget.training_gb``; ``smaller`` leaves out that many of ``loop.SHAPES``. Less
    at a time gives the same but for the last digits. A finished adapter is returned as it is.

    Raises TrainingError if there are no pairs, or none short enough, or the loss is not a number three steps in a row; BudgetError
    if training does not fit its budget; StoreError if a checkpoint or the adapter cannot be written.
    """
    run.require("model", model.origin, "model")
    if run.stages().get("train", {}).get("done"):
        return open_adapter(run.adapter_path)
    config = run.config.train
    with measured(run, "train"):
        examples = _examples(run, model, config)
        plan = _plan(run, model, examples, smaller)
        optimizer = optimizer_of(config, count_steps(len(examples), config))
        with _with_adapter(model, config, run.config.seed) as settings:
            total = len(examples) * config.epochs
            with (progress or NullProgress()).stage("train", total, "pairs") as stage:
                _make_steps(run, model, examples, optimizer, plan.shape, stage.advance)
            adapter = save_adapter(model.network, run.adapter_path, settings, model.origin)
    shutil.rmtree(run.training_path, ignore_errors=True)
    return adapter


def _examples(run: Run, model: Model, config: TrainConfig) -> list[Example]:
    pairs = run.pairs()
    if not pairs:
        raise TrainingError(
            f"{run.path} has no pairs to train on: no task was both failed and solved",
            hint="collect more: raise --collect-samples or take other tasks with --collect-tasks",
        )
    examples, left_out = encode_pairs(model, pairs, config.max_length)
    run.remember("train.left_out", len(left_out))
    if left_out:
        names = ", ".join(f"{pair.kind} {pair.task_id}" for pair in left_out)
        logger.warning("longer than train.max_length = %d tokens and left out: %s", config.max_length, names)
    if not examples:
        raise TrainingError(f"all {len(pairs)} pairs are longer than train.max_length = {config.max_length} tokens")
    return examples


def _plan(run: Run, model: Model, examples: list[Example], smaller: int) -> TrainingPlan:
    """Within the budget, which MLX is told of."""
    config, budget = run.config.train, int(run.config.budget.training_gb * 1e9)
    fixed = processes_bytes() + mx.get_active_memory()
    planner = Planner(model.network, model.config, config, fixed)
    plan = planner.plan(Workload.of(examples, config.epochs), budget, smaller=smaller)
    mx.set_cache_limit(plan.cache_bytes)
    run.remember("train.plan", asdict(plan))
    logger.info("%s", plan)
    return plan


@contextmanager
def _with_adapter(model: Model, config: TrainConfig, seed: int) -> Iterator[dict[str, Any]]:
    try:
        yield insert_adapter(model.network, config, seed)
    finally:
        remove_adapter(model.network)
        model.network.eval()


def _make_steps(
    run: Run, model: Model, examples: list[Example], optimizer: optim.Optimizer, shape: Shape, advance: Any
) -> None:
    config, seed = run.config.train, run.config.seed
    settings = {"train": asdict(config), "seed": seed, "model": model.origin, "pairs": _digest(examples)}
    start = newest_checkpoint(run.training_path, settings)
    first = start.step if start else 0
    run.clear_steps(first)
    advance(_pairs_before(first, len(examples), config.batch_size), "from before" if first else "")
    saved = time.monotonic()
    for step in train_steps(
        model.network, examples, config, seed, optimizer, shape=shape, start=start, advance=advance
    ):
        _record(run, step)
        if time.monotonic() - saved >= CHECKPOINT_S:
            save_checkpoint(run.training_path, step.step + 1, model.network, optimizer, settings)
            saved = time.monotonic()


def _digest(examples: list[Example]) -> str:
    return hashlib.sha256(repr([(example.ids, example.start) for example in examples]).encode()).hexdigest()


def _record(run: Run, step: Step) -> None:
    """A skipped step leaves a gap: it has no loss."""
    if step.skipped:
        logger.warning("step %d: the loss or its gradient is not a number; skipped", step.step)
    else:
        values = {field.name: getattr(step, field.name) for field in fields(step) if field.name != "skipped"}
        run.add_step(**values)


def _pairs_before(step: int, n_examples: int, batch_size: int) -> int:
    """Pairs of the first ``step`` steps."""
    steps_an_epoch = -(-n_examples // batch_size)
    epochs, rest = divmod(step, steps_an_epoch)
    return epochs * n_examples + min(rest * batch_size, n_examples)
