"""Run the steps of a training by rewards: rollouts, update, record, checkpoint, and now and then a try of the held-back tasks.

The adapter that is kept is that of the step after which most failed attempts of the held-back tasks were repaired; step 0, the
adapter that the training began with, counts as one of them. A training that was cut short goes on from its last checkpoint. It
takes the rollouts that are stored, and ends with the same adapter as one that was not cut short, bit for bit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from mlx_selfdebug.models.backend import mx, optim

from mlx_selfdebug.config import ADJUSTABLE
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.training.checkpoint import newest_checkpoint, restore_best, save_checkpoint
from mlx_selfdebug.training.loop import MAX_SKIPPED, Advance
from mlx_selfdebug.training.plan import TrainingPlan
from mlx_selfdebug.training.reward_prompts import RewardPrompt, choose, latest_failures
from mlx_selfdebug.training.reward_update import Update, reward_optimizer, update
from mlx_selfdebug.training.rollouts import Group, Rollouts, examples_of, pass_rates, remembered_rates, step_of
from mlx_selfdebug.training.selection import Selection
from mlx_selfdebug.training.session import check_and_keep_best
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.step import RewardStep

logger = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""The seconds between two checkpoints. A step of a real model takes longer, so that each step has one."""
TESTS = "waiting for tests"
"""The kind of work under which the stream records that nothing was left to do but to wait for tests."""

"""Called with the number of steps that were finished and a short note for the progress display."""


@dataclass(frozen=True)
class Ending:
    """How a training by rewards ended."""

    steps: int
    """The number of steps that were made."""
    reason: str
    """Why it ended there, in words."""
    kept: int
    """The number of steps that led to the adapter that was kept."""


class RewardSession:
    """The steps of one training by rewards.

    ``origin`` says what the training depends on beside the settings: the prompts and the adapter that it began with. ``fits`` says
    whether a prompt is no longer than planned for. The repair of a task's latest failed draft joins the prompts if it is not.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        prompts: Sequence[RewardPrompt],
        plan: TrainingPlan,
        spent: Spent,
        origin: Mapping[str, Any],
        fits: Callable[[RewardPrompt], bool],
        selection: Selection | None = None,
    ) -> None:
        self._rollouts, self._prompts, self._plan, self._spent = rollouts, prompts, plan, spent
        self._tasks = {prompt.task.id: prompt.task for prompt in prompts}
        self._fits = fits
        self._failures: dict[str, Attempt] = {}
        self._run, self._model = rollouts.run, rollouts.model
        self._config, self._seed = self._run.config.train, self._run.config.seed
        self._selection = selection
        kept = {name: value for name, value in asdict(self._config).items() if f"train.{name}" not in ADJUSTABLE}
        self._settings = {"train": kept, "seed": self._seed, "model": self._model.origin, **origin}
        self._optimizer: optim.Optimizer = reward_optimizer(self._config)
        self._rates: dict[str, float] = {}
        self._skipped = 0

    def make_steps(self, advance: Advance) -> Ending:
        """Make the steps that are missing, and leave the network with the adapter that is to be kept.

        Raises TrainingError if the loss or gradient is not a number three updates in a row.
        """
        config, folder = self._config, self._run.rewards_path
        done = self._begin(advance)
        saved, in_network = time.monotonic(), done
        while not (reason := self._over(done)):
            step = self._step(done)
            self._run.add_reward_step(step)
            done = in_network = done + 1
            if done % config.reward_every == 0 or done == config.reward_steps:
                self._check(done, advance)
            if time.monotonic() - saved >= CHECKPOINT_S:
                save_checkpoint(folder, done, self._model.network, self._optimizer, self._settings)
                time.sleep(config.cooldown_s)
                saved = time.monotonic()
            advance(1, _note(step))
        best = self._selection.best if self._selection else None
        if best and best.step != in_network:
            restore_best(folder, best.step, self._model.network)
        return Ending(done, reason, best.step if best else done)

    def _begin(self, advance: Advance) -> int:
        """Take up the training where it was left, and return the number of steps that are done."""
        start = newest_checkpoint(self._run.rewards_path, self._settings)
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
            self._selection.recall(done if done else -1)
            if not done:
                self._check(0, advance)
        return done

    def _over(self, done: int) -> str:
        """Return why no further step is made, or "" if one is."""
        config = self._config
        if done >= config.reward_steps:
            return f"all {done} steps were made"
        barren = _barren(self._run.reward_steps())
        if barren >= config.reward_barren:
            return f"in {barren} steps in a row, all completions of each prompt got the same reward"
        if self._selection and self._selection.over:
            return f"{config.patience} tries of the held-back tasks in a row repaired no more than the best before them"
        return ""

    def _step(self, number: int) -> RewardStep:
        spent, begin = Spent(), time.monotonic()
        prompts = choose(self._all_prompts(), number, self._rates, self._config, self._seed)
        self._model.network.eval()
        groups = [group for group in self._rollouts.make(number, prompts, spent) if group.attempts]
        # What is learned from has to be on disk before it changes the weights.
        self._run.flush()
        self._rates |= pass_rates(groups)
        self._failures |= latest_failures(attempt for group in groups for attempt in group.attempts)
        self._limit_cache()
        rolled_out = time.monotonic()
        made = self._update(number, groups)
        updated = time.monotonic()
        for part, seconds in {**spent.seconds, "gradients": updated - rolled_out}.items():
            self._spent.add(part, seconds)
        return _record(number, groups, made, rolled_out - begin, spent.seconds.get(TESTS, 0.0), updated - rolled_out)

    def _all_prompts(self) -> list[RewardPrompt]:
        """Return the prompts of the run, and the repairs of what the model got wrong when it was last asked for drafts."""
        if not self._config.reward_repair_share:
            return list(self._prompts)
        fresh = [RewardPrompt("repair", self._tasks[id_], failed) for id_, failed in sorted(self._failures.items())]
        return [*self._prompts, *filter(self._fits, fresh)]

    def _update(self, number: int, groups: Sequence[Group]) -> Update:
        """Make the update of a step. If no group has two different rewards, nothing is changed."""
        config, network = self._config, self._model.network
        varied = [group for group in groups if group.varied]
        examples = [examples_of(group, self._model, merged=not config.reward_kl) for group in varied]
        examples = [of_group for of_group in examples if of_group]
        if not examples:
            return Update(0.0, 0.0, float(self._optimizer.learning_rate.item()))
        made = update(network, self._optimizer, examples, config, self._plan.shape)
        self._skipped = self._skipped + 1 if made.skipped else 0
        if made.skipped:
            logger.warning("reward step %d changed nothing: its loss or gradient is not a number", number)
        if self._skipped == MAX_SKIPPED:
            names = ", ".join(of_group[0].name for of_group in examples)
            raise TrainingError(
                f"the loss or its gradient is not a number at reward step {number} and at the {MAX_SKIPPED - 1} updates "
                f"before it; the prompts of the step: {names}",
                hint="lower --train-reward-learning-rate",
            )
        return made

    def _check(self, done: int, advance: Advance) -> None:
        if self._selection is None:
            return
        check_and_keep_best(self._selection, done, self._run.rewards_path, self._model.network, self._spent, advance)
        self._limit_cache()

    def _limit_cache(self) -> None:
        """Set the cache limit of the plan again, because decoding has set one of its own."""
        mx.set_cache_limit(self._plan.cache_bytes)
        mx.clear_cache()


def _barren(steps: Sequence[RewardStep]) -> int:
    """Return how many of the last steps had nothing to teach."""
    n = 0
    for step in reversed(steps):
        if step.n_varied:
            break
        n += 1
    return n


def _record(
    number: int, groups: Sequence[Group], made: Update, rollouts_s: float, tests_s: float, gradient_s: float
) -> RewardStep:
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
        loss=0.0 if made.skipped else made.loss,
        learning_rate=made.learning_rate,
        grad_norm=0.0 if made.skipped else made.grad_norm,
        rollouts_s=rollouts_s,
        tests_s=tests_s,
        gradient_s=gradient_s,
    )


def _note(step: RewardStep) -> str:
    return f"reward {step.reward:.2f}, {step.n_varied} of {step.n_groups} groups vary, {step.n_tokens:.0f} tokens each"
