"""Train: LoRA on a run's pairs, the completion's tokens alone, in a seeded order, the loss recorded step by step.

A training that was cut short goes on from its last checkpoint and ends with the adapter it would have had, bit for bit. It runs in
this process; the command line gives it one of its own (``cli/supervise.py``).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.config import ADJUSTABLE, TrainConfig
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress, Spent
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.common import decoding_of, measured
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, open_adapter, remove_adapter, save_adapter
from mlx_selfdebug.training.checkpoint import newest_checkpoint, restore_best, save_best, save_checkpoint
from mlx_selfdebug.training.examples import Example, encode_pairs
from mlx_selfdebug.training.loop import Advance, Step, count_steps, optimizer_of, train_steps
from mlx_selfdebug.training.plan import Planner, TrainingPlan, Workload, processes_bytes
from mlx_selfdebug.training.selection import Selection, held_back_tasks
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""Seconds of training that a kill may cost."""


def train(
    run: Run,
    model: Model,
    *,
    tasks: Sequence[Task] | None = None,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
    smaller: int = 0,
) -> Adapter:
    """LoRA-train ``model`` on the run's pairs and save the adapter; ``model`` is the base again afterwards.

    Where tasks were held back from the pairs, the adapter is that of the epoch which repaired most of their failed attempts, else
    the last one. ``tasks`` are those the run collected on; without them ``collect.tasks`` is loaded. How much is computed at a time
    follows from ``budget.training_gb``; ``smaller`` leaves out that many of ``loop.SHAPES``. Less at a time gives the same but for
    the last digits. A finished adapter is returned as it is.

    Raises TrainingError if there are no pairs, or none short enough, or the loss is not a number three steps in a row; BudgetError
    if training does not fit its budget; StoreError if a checkpoint or the adapter cannot be written; SandboxError if repairs cannot
    be tested.
    """
    run.require("model", model.origin, "model")
    if run.stages().get("train", {}).get("done"):
        return open_adapter(run.adapter_path)
    with measured(run, "train", run.config.budget.training_gb) as spent, ExitStack() as stack:
        examples = _examples(run, model, run.config.train)
        with spent.on("planning"):
            plan = stack.enter_context(_planned(run, model, examples, smaller))
        training = _Training(run, model, examples, plan, spent)
        held_back = held_back_tasks(run, tasks)
        if held_back:
            runner = stack.enter_context(
                open_runner(run.config.sandbox, held_back, allow_weak_sandbox=allow_weak_sandbox)
            )
            training.select_on(held_back, runner)
        settings = stack.enter_context(_with_adapter(model, run.config.train, run.config.seed))
        with (progress or NullProgress()).stage("train", len(examples) * run.config.train.epochs, "pairs") as stage:
            training.make_steps(stage.advance)
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
    most = min(config.max_length, model.context)
    limit = f"{'train.max_length' if most == config.max_length else 'the context of ' + model.name} = {most} tokens"
    codes = {attempt.id: attempt.code for attempt in run.attempts()}
    examples, left_out = encode_pairs(model, pairs, most, codes, config.copied_weight)
    run.remember("train.left_out", len(left_out))
    if left_out:
        names = ", ".join(f"{pair.kind} {pair.task_id}" for pair in left_out)
        logger.warning("longer than %s and left out: %s", limit, names)
    if not examples:
        raise TrainingError(
            f"all {len(pairs)} pairs are longer than {limit}", hint="a run with a larger --train-max-length"
        )
    return examples


@contextmanager
def _planned(run: Run, model: Model, examples: list[Example], smaller: int) -> Iterator[TrainingPlan]:
    """The plan, whose limits MLX is held to inside the block."""
    budget, processes = int(run.config.budget.training_gb * 1e9), processes_bytes()
    planner = Planner(model.network, model.config, run.config.train, processes + mx.get_active_memory())
    plan = planner.plan(Workload.of(examples), budget, smaller=smaller)
    run.remember(f"train.plan.{smaller}", asdict(plan))
    logger.info("%s", plan)
    cache, memory = mx.set_cache_limit(plan.cache_bytes), mx.set_memory_limit(budget - processes)
    try:
        yield plan
    finally:
        mx.set_cache_limit(cache)
        mx.set_memory_limit(memory)


@contextmanager
def _with_adapter(model: Model, config: TrainConfig, seed: int) -> Iterator[dict[str, Any]]:
    try:
        yield insert_adapter(model.network, config, seed)
    finally:
        remove_adapter(model.network)
        model.network.eval()


class _Training:
    """The steps of one training: recorded, kept in checkpoints, compared by their repairs."""

    def __init__(self, run: Run, model: Model, examples: list[Example], plan: TrainingPlan, spent: Spent) -> None:
        self._run, self._model, self._examples, self._plan = run, model, examples, plan
        self._spent = spent
        self._config, self._seed = run.config.train, run.config.seed
        self._digest = _digest(examples)
        self._selection: Selection | None = None
        self._steps_an_epoch = count_steps(len(examples), self._config) // self._config.epochs

    def select_on(self, tasks: Sequence[Task], runner: TestRunner) -> None:
        config = self._run.config
        budget = int(config.budget.training_gb * 1e9)
        decoding = replace(decoding_of(config.collect, config), temperature=0.0, budget_bytes=budget)
        self._selection = Selection(self._run, self._model, tasks, runner, decoding, self._digest)

    def make_steps(self, advance: Advance) -> None:
        """The network ends with the adapter that is to be kept."""
        config, folder, network = self._config, self._run.training_path, self._model.network
        settings = {"train": _lasting(config), "seed": self._seed, "model": self._model.origin, "pairs": self._digest}
        optimizer = optimizer_of(config, count_steps(len(self._examples), config))
        start = newest_checkpoint(folder, settings)
        done, held = start.step if start else 0, -1
        self._begin(done, advance)
        steps = train_steps(
            network, self._examples, config, self._seed, optimizer, shape=self._plan.shape, start=start, advance=advance
        )
        saved = time.monotonic()
        while not (self._selection and self._selection.over) and (step := next(steps, None)):
            done = held = step.step + 1
            _record(self._run, step)
            self._spent.add("steps", step.wall_s)
            if done % self._steps_an_epoch == 0:
                self._check(done, advance)
            if time.monotonic() - saved >= CHECKPOINT_S:
                save_checkpoint(folder, done, network, optimizer, settings)
                time.sleep(config.cooldown_s)
                saved = time.monotonic()
        if self._selection and (best := self._selection.best) and best.step != held:
            restore_best(folder, best.step, network)

    def _begin(self, done: int, advance: Advance) -> None:
        self._run.clear_steps(done)
        advance(_pairs_before(done, len(self._examples), self._config.batch_size), "from before" if done else "")
        if self._selection:
            self._selection.recall(done)

    def _check(self, done: int, advance: Advance) -> None:
        if self._selection is None:
            return
        advance(0, "repairs are tested")
        with self._spent.on("repairs of held-back tasks"):
            check = self._selection.check(done)
        advance(0, f"{check.repaired} of {check.attempts} repaired")
        if self._selection.best == check:
            save_best(self._run.training_path, done, self._model.network)
        mx.set_cache_limit(self._plan.cache_bytes)
        mx.clear_cache()


def _lasting(config: TrainConfig) -> dict[str, Any]:
    """The settings that the adapter depends on."""
    return {name: value for name, value in asdict(config).items() if f"train.{name}" not in ADJUSTABLE}


def _digest(examples: list[Example]) -> str:
    return hashlib.sha256(
        repr([(example.ids, example.start, example.weights) for example in examples]).encode()
    ).hexdigest()


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
