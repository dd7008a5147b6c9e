"""Run the steps of one training on pairs: record them, keep checkpoints, and compare the epochs by what they repair.

A training that was cut short continues from its last checkpoint. It ends with the same adapter as one that was not cut short, bit
for bit.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_selfdebug.config import ADJUSTABLE, TrainConfig
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.checkpoint import newest_checkpoint, restore_best, save_best, save_checkpoint
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import Advance, count_steps, optimizer_of, train_steps
from mlx_selfdebug.training.plan import TrainingPlan
from mlx_selfdebug.training.ranks import checkpoint_of_first, copy_weights
from mlx_selfdebug.training.selection import Selection
from mlx_selfdebug.values.step import Step

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""The shortest time between two checkpoints, in seconds: about as much training is lost if the process is killed."""


class Session:
    """The steps of one training on pairs, with its checkpoints and the choice of its best epoch.

    Args:
        run: the run, which stores the steps. Its checkpoints are in ``run.training_path``.
        model: the model, with the adapter that is trained.
        examples: the pairs as tokens.
        plan: how much of a step is computed at a time.
        spent: gets the seconds that each kind of work takes.
    """

    def __init__(self, run: Run, model: Model, examples: list[Example], plan: TrainingPlan, spent: Spent) -> None:
        self._run, self._model, self._examples = run, model, examples
        self._plan, self._spent = plan, spent
        self._config, self._seed = run.config.train, run.config.seed
        self._digest = _digest(examples)
        self._selection: Selection | None = None
        self._steps_per_epoch = count_steps(len(examples), self._config) // self._config.epochs

    @property
    def digest(self) -> str:
        """The SHA-256 of the examples, which identifies what is trained on."""
        return self._digest

    def select_by(self, selection: Selection) -> None:
        """Keep the adapter of the epoch that ``selection`` finds best instead of the last one."""
        self._selection = selection

    def make_steps(self, advance: Advance) -> None:
        """Make the steps that are missing, and leave the network with the adapter that is to be kept.

        Raises TrainingError if the loss or gradient is not finite several steps in a row, and StoreError if a checkpoint cannot
        be written.
        """
        config, folder, network, group = self._config, self._run.training_path, self._model.network, self._run.group
        settings = {
            "train": lasting_settings(config),
            "seed": self._seed,
            "model": self._model.origin,
            "pairs": self._digest,
        }
        optimizer = optimizer_of(config, count_steps(len(self._examples), config))
        start = checkpoint_of_first(group, newest_checkpoint(folder, settings) if group.is_first else None)
        done = start.step if start else 0
        # The number of steps that led to the adapter in the network. It is -1 until this process has made a step, because only then
        # is the checkpoint loaded into the network.
        steps_in_network = -1
        self._begin(done, advance)
        steps = train_steps(
            network,
            self._examples,
            config,
            self._seed,
            optimizer,
            shape=self._plan.shape,
            start=start,
            advance=advance,
            group=group,
        )
        saved_at = time.monotonic()
        while not (self._selection and self._selection.over) and (step := next(steps, None)):
            done = steps_in_network = step.step + 1
            _record(self._run, step)
            self._spent.add("steps", step.wall_s)
            if done % self._steps_per_epoch == 0:
                copy_weights(group, network, optimizer)
                self._validate(done, advance)
            if group.is_first and time.monotonic() - saved_at >= CHECKPOINT_S:
                save_checkpoint(folder, done, network, optimizer, settings)
                time.sleep(config.cooldown_s)
                saved_at = time.monotonic()
        if self._selection and (best := self._selection.best) and best.step != steps_in_network:
            if group.is_first:
                restore_best(folder, best.step, network)
            copy_weights(group, network)

    def _begin(self, done: int, advance: Advance) -> None:
        """Continue after ``done`` steps: drop the records of later steps, and recall the validations of earlier ones."""
        self._run.delete_steps(done)
        advance(_pairs_before(done, len(self._examples), self._config.batch_size), "resumed" if done else "")
        if self._selection:
            self._selection.recall(done)

    def _validate(self, done: int, advance: Advance) -> None:
        """Have the model repair the held-back failures, if tasks were held back, and save the adapter if it is the best."""
        if self._selection is None:
            return
        folder = self._run.training_path if self._run.group.is_first else None
        validate_and_keep_best(self._selection, done, folder, self._model.network, self._spent, advance)
        # Decoding the repairs has set a cache limit of its own.
        mx.set_cache_limit(self._plan.cache_bytes)
        mx.clear_cache()


def validate_and_keep_best(
    selection: Selection, done: int, folder: Path | None, network: nn.Module, spent: Spent, advance: Advance
) -> None:
    """Have the model repair the held-back failures after ``done`` steps, and save the adapter in ``folder`` if it is the best.

    An adapter is the best if the model repaired at least as many failures with it as with every earlier one. On the ranks that do
    not save it, ``folder`` is None.
    """
    advance(0, "testing repairs")
    with spent.on("repairs of held-back tasks"):
        validation = selection.validate(done)
    advance(0, f"{validation.repaired} of {validation.attempts} repaired")
    if folder and selection.best == validation:
        save_best(folder, done, network)


def lasting_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings on which the adapter depends: all settings of training but those that may change between sessions."""
    return {name: value for name, value in asdict(config).items() if f"train.{name}" not in ADJUSTABLE}


def _digest(examples: list[Example]) -> str:
    """Return the SHA-256 of the examples, without their names."""
    return hashlib.sha256(
        repr([(example.ids, example.start, example.weights) for example in examples]).encode()
    ).hexdigest()


def _record(run: Run, step: Step) -> None:
    """Store ``step`` with the run. A skipped step has no loss, so it leaves a gap in the recorded steps."""
    if step.skipped:
        logger.warning("step %d was skipped: its loss or gradient is not finite", step.step)
    else:
        run.add_step(step)


def _pairs_before(step: int, n_examples: int, batch_size: int) -> int:
    """Return the number of pairs in the steps before ``step``, for the progress display. A pair counts once per epoch."""
    steps_per_epoch = -(-n_examples // batch_size)
    epochs, rest = divmod(step, steps_per_epoch)
    return epochs * n_examples + min(rest * batch_size, n_examples)
