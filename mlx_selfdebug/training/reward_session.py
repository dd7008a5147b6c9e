"""Run the steps of a training by rewards: rollouts, update, record, checkpoint and, at times, repairs of the held-back tasks.

The adapter is kept with which the model repaired most failed attempts of the held-back tasks. It may be the adapter that the
training began with (step 0). A training that was cut short continues from its last checkpoint. It uses the rollouts that are
stored, and ends with the same adapter as one that was not cut short, bit for bit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from mlx_selfdebug.models.backend import mx, optim

from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.training.checkpoint import newest_checkpoint, restore_best, save_checkpoint
from mlx_selfdebug.training.loop import MAX_SKIPPED, Advance
from mlx_selfdebug.training.plan import TrainingPlan
from mlx_selfdebug.training.ranks import checkpoint_of_first, copy_weights
from mlx_selfdebug.training.reward_prompts import RewardPrompt, choose, count_tokens, latest_failures
from mlx_selfdebug.training.reward_update import Update, reward_optimizer, update
from mlx_selfdebug.training.rollouts import (
    CompletionGroup,
    Rollouts,
    examples_of,
    pass_rates,
    remembered_rates,
    step_of,
)
from mlx_selfdebug.training.selection import Selection
from mlx_selfdebug.training.session import lasting_settings, validate_and_keep_best
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.step import RewardStep

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""The shortest time between two checkpoints, in seconds. A step of a real model takes longer, so each step has a checkpoint."""
TESTS = "waiting for tests"
"""The kind of work to which the stream adds the seconds in which it could only wait for tests."""


@dataclass(frozen=True)
class Ending:
    """How a training by rewards ended."""

    steps: int
    """The number of steps that were made."""
    reason: str
    """Why no further step was made, in words."""
    kept: int
    """The number of steps that led to the adapter that was kept."""


class RewardSession:
    """The steps of one training by rewards.

    Args:
        rollouts: makes the rollouts of the run.
        prompts: the prompts that may be chosen in every step. Repairs of the latest failed drafts join them.
        max_prompt_tokens: the number of tokens for which ``plan`` was made. Longer repairs of failed drafts are left out.
        plan: how much of a step is computed at a time.
        spent: gets the seconds that each kind of work takes.
        origin: what the training depends on beside the settings: the prompts, and the adapter that it began with.
        selection: chooses the step whose adapter is kept. Without it, the adapter after the last step is kept.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        prompts: Sequence[RewardPrompt],
        max_prompt_tokens: int,
        plan: TrainingPlan,
        spent: Spent,
        origin: Mapping[str, str],
        selection: Selection | None = None,
    ) -> None:
        self._rollouts, self._prompts, self._max_prompt_tokens = rollouts, prompts, max_prompt_tokens
        self._plan, self._spent, self._selection = plan, spent, selection
        self._tasks = {prompt.task.id: prompt.task for prompt in prompts}
        self._run, self._model = rollouts.run, rollouts.model
        self._config, self._seed = self._run.config.train, self._run.config.seed
        self._settings: dict[str, Any] = {
            "train": lasting_settings(self._config),
            "seed": self._seed,
            "model": self._model.origin,
            **origin,
        }
        self._optimizer: optim.Optimizer = reward_optimizer(self._config)
        self._rates: dict[str, float] = {}
        """The pass rate of each prompt in the latest step that chose it, by the prompt's key."""
        self._failures: dict[str, Attempt] = {}
        """The latest failed draft of each task, by the task's id."""
        self._n_skipped = 0

    def make_steps(self, advance: Advance) -> Ending:
        """Make the steps that are missing, and leave the network with the adapter that is to be kept.

        Raises TrainingError if the loss or gradient is not finite ``MAX_SKIPPED`` updates in a row, and StoreError if a
        checkpoint cannot be written.
        """
        config, folder = self._config, self._run.rewards_path
        done = self._begin(advance)
        saved_at = time.monotonic()
        while not (reason := self._reason_to_end(done)):
            step = self._make_step(done)
            self._run.add_reward_step(step)
            done += 1
            if done % config.reward_every == 0 or done == config.reward_steps:
                copy_weights(self._run.group, self._model.network, self._optimizer)
                self._validate(done, advance)
            if self._run.group.is_first and time.monotonic() - saved_at >= CHECKPOINT_S:
                save_checkpoint(folder, done, self._model.network, self._optimizer, self._settings)
                time.sleep(config.cooldown_s)
                saved_at = time.monotonic()
            advance(1, _note(step))
        best = self._selection.best if self._selection else None
        if best and best.step != done:
            if self._run.group.is_first:
                restore_best(folder, best.step, self._model.network)
            copy_weights(self._run.group, self._model.network)
        return Ending(done, reason, best.step if best else done)

    def _begin(self, advance: Advance) -> int:
        """Continue from the newest checkpoint, if there is one, and return the number of steps that are done."""
        ranks = self._run.group
        own = newest_checkpoint(self._run.rewards_path, self._settings) if ranks.is_first else None
        start = checkpoint_of_first(ranks, own)
        done = start.step if start else 0
        if start:
            start.restore(self._model.network, self._optimizer)
        self._run.delete_reward_steps(done)
        if done:
            steps = [(step_of(attempt), attempt) for attempt in self._run.attempts()]
            rollouts = [attempt for step, attempt in steps if step is not None and step < done]
            self._rates, self._failures = remembered_rates(rollouts), latest_failures(rollouts)
        advance(done, "resumed" if done else "")
        if self._selection:
            # At step 0, ``_validate`` below recalls the validation of the adapter that the training began with, or makes it. If it
            # was recalled here as well, it would count twice.
            self._selection.recall(done if done else -1)
            if not done:
                self._validate(0, advance)
        return done

    def _reason_to_end(self, done: int) -> str:
        """Return in words why the training ends after ``done`` steps, or "" if it goes on."""
        config = self._config
        if done >= config.reward_steps:
            return f"all {done} steps were made"
        n_barren = _count_barren(self._run.reward_steps())
        if n_barren >= config.reward_barren:
            return f"in {n_barren} steps in a row, all completions of each prompt got the same reward"
        if self._selection and self._selection.over:
            return f"{config.patience} tries of the held-back tasks in a row repaired no more than the best before them"
        return ""

    def _make_step(self, number: int) -> RewardStep:
        """Draw and test the completions of a step, make its update, and return its record."""
        spent, began = Spent(), time.monotonic()
        prompts = choose(self._all_prompts(), number, self._rates, self._config, self._seed)
        self._model.network.eval()
        groups = [group for group in self._rollouts.make(number, prompts, spent) if group.attempts]
        # The rollouts have to be on disk before the weights change: a resumed training could not draw the same ones again.
        self._run.flush()
        self._rates |= pass_rates(groups)
        self._failures |= latest_failures(attempt for group in groups for attempt in group.attempts)
        self._limit_cache()
        rolled_out = time.monotonic()
        figures = self._update(number, groups)
        updated = time.monotonic()
        for part, seconds in {**spent.seconds, "gradients": updated - rolled_out}.items():
            self._spent.add(part, seconds)
        return _record(number, groups, figures, rolled_out - began, spent.seconds.get(TESTS, 0.0), updated - rolled_out)

    def _all_prompts(self) -> list[RewardPrompt]:
        """Return the prompts of the run, and the repairs of the latest failed drafts that are not too long."""
        if not self._config.reward_repair_share:
            return list(self._prompts)
        repairs = [RewardPrompt("repair", self._tasks[id_], failed) for id_, failed in sorted(self._failures.items())]
        short = [prompt for prompt in repairs if count_tokens(prompt, self._model) <= self._max_prompt_tokens]
        return [*self._prompts, *short]

    def _update(self, number: int, groups: Sequence[CompletionGroup]) -> Update:
        """Make the update of a step and return its figures. If no group has two different rewards, nothing is changed."""
        config, network = self._config, self._model.network
        varied = [group for group in groups if group.varied]
        # With a divergence from the base, each completion counts for itself, so completions of the same tokens are not merged.
        by_group = [examples_of(group, self._model, merged=not config.reward_kl) for group in varied]
        by_group = [examples for examples in by_group if examples]
        if not by_group:
            return Update(0.0, 0.0, float(self._optimizer.learning_rate.item()))
        figures = update(network, self._optimizer, by_group, config, self._plan.shape, self._run.group)
        self._n_skipped = self._n_skipped + 1 if figures.skipped else 0
        if figures.skipped:
            logger.warning("reward step %d changed nothing: its loss or gradient is not finite", number)
        if self._n_skipped == MAX_SKIPPED:
            names = ", ".join(examples[0].name for examples in by_group)
            raise TrainingError(
                f"the loss or its gradient is not finite at reward step {number} and at the {MAX_SKIPPED - 1} updates "
                f"before it; the prompts of the step: {names}",
                hint="train with a lower --train-reward-learning-rate in a branch of the run: mlx-selfdebug runs branch",
            )
        return figures

    def _validate(self, done: int, advance: Advance) -> None:
        """Have the model repair the held-back failures, if tasks were held back, and save the adapter if it is the best."""
        if self._selection is None:
            return
        folder = self._run.rewards_path if self._run.group.is_first else None
        validate_and_keep_best(self._selection, done, folder, self._model.network, self._spent, advance)
        self._limit_cache()

    def _limit_cache(self) -> None:
        """Set the cache limit of the plan again, because decoding has set one of its own."""
        mx.set_cache_limit(self._plan.cache_bytes)
        mx.clear_cache()


def _count_barren(steps: Sequence[RewardStep]) -> int:
    """Return the number of steps, counted from the last one backwards, in which no group had two different rewards."""
    n = 0
    for step in reversed(steps):
        if step.n_varied:
            break
        n += 1
    return n


def _record(
    number: int,
    groups: Sequence[CompletionGroup],
    figures: Update,
    rollouts_s: float,
    tests_s: float,
    gradient_s: float,
) -> RewardStep:
    """Return the record of a step. Figures that are not numbers are recorded as 0."""
    attempts = [attempt for group in groups for attempt in group.attempts]
    n = len(attempts)
    return RewardStep(
        step=number,
        n_groups=len(groups),
        n_varied=sum(group.varied for group in groups),
        n_completions=n,
        reward=mean(reward for group in groups for reward in group.rewards) if n else 0.0,
        passed=mean(attempt.passed and attempt.public.passed for attempt in attempts) if n else 0.0,
        copies=sum(group.n_copies for group in groups) / n if n else 0.0,
        n_tokens=mean(attempt.n_completion_tokens for attempt in attempts) if n else 0.0,
        loss=0.0 if figures.skipped else figures.loss,
        learning_rate=figures.learning_rate,
        grad_norm=0.0 if figures.skipped else figures.grad_norm,
        rollouts_s=rollouts_s,
        tests_s=tests_s,
        gradient_s=gradient_s,
    )


def _note(step: RewardStep) -> str:
    """Return a short note on a step for the progress display."""
    return f"reward {step.reward:.2f}, {step.n_varied} of {step.n_groups} groups vary, {step.n_tokens:.0f} tokens each"
