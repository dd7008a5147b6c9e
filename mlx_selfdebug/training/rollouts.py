"""Make the rollouts of a reward step: several completions of each prompt, drawn from the model as it is, tested and rewarded.

Rollouts are attempts in an arm of their own, "rewards/000012" for step 12, and hold the tokens that were decoded. The sample of an
attempt is its number within the step, so its key and its seed do not depend on when it was made, and a rollout that is stored is
never drawn again.

A completion's advantage is its reward minus the mean reward of its group. It is not divided by the standard deviation, which would
weigh groups that are almost always right or wrong more than others (Liu et al. 2025, "Understanding R1-Zero-Like Training: A
Critical Perspective", arXiv 2503.20783, called Dr. GRPO).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.progress import NullStage, Spent
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.judging import VerdictCache
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.reward_prompts import RewardPrompt
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

ARM = "rewards"


def arm_of(step: int) -> str:
    """Return the arm of a step's rollouts."""
    return f"{ARM}/{step:06d}"


def step_of(attempt: Attempt) -> int | None:
    """Return the step whose rollout the attempt is, or None if it is none."""
    arm, _, number = attempt.arm.partition("/")
    return int(number) if arm == ARM else None


@dataclass(frozen=True)
class Group:
    """The completions of one prompt, with their rewards."""

    prompt: RewardPrompt
    attempts: Sequence[Attempt]
    """Fewer than were asked for, or none, if the prompt did not fit the context."""
    rewards: Sequence[float]

    @property
    def pass_rate(self) -> float:
        return mean(attempt.passed and attempt.public.passed for attempt in self.attempts)

    @property
    def varied(self) -> bool:
        """Whether two completions have different rewards, without which there is nothing to learn."""
        return len(set(self.rewards)) > 1

    @property
    def advantages(self) -> list[float]:
        """Return each reward minus the mean of the group."""
        return [reward - mean(self.rewards) for reward in self.rewards]

    @property
    def n_copies(self) -> int:
        return sum(is_copy(attempt, self.prompt) for attempt in self.attempts)


@dataclass(frozen=True)
class _Complete:
    """A policy that completes each of a step's prompts several times."""

    moves_by_task: Mapping[str, Sequence[Move]]

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return [] if attempts else self.moves_by_task[task.id]


@dataclass(frozen=True)
class Rollouts:
    """The means to make rollouts with one model."""

    run: Run
    model: Model
    runner: TestRunner
    decoding: Decoding
    """At a temperature of 1 and without ``min_p``, so that completions are drawn from the distribution that is trained."""

    @cached_property
    def cache(self) -> VerdictCache:
        """Return what is known of programs that were tested, which is read from the store once and not in every step."""
        return VerdictCache(self.runner, self.run.attempts())

    def make(self, step: int, prompts: Sequence[RewardPrompt], spent: Spent) -> list[Group]:
        """Return the groups of ``step``: made now, or taken from the store as far as they are there."""
        size = self.run.config.train.reward_group_size
        moves: dict[str, list[Move]] = {}
        for place, prompt in enumerate(prompts):
            round_ = 1 if prompt.parent else 0
            moves.setdefault(prompt.task.id, []).extend(
                Move(place * size + i, round_, prompt.parent) for i in range(size)
            )
        tasks = list({prompt.task.id: prompt.task for prompt in prompts}.values())
        play = Play(arm_of(step), tasks, _Complete(moves), self.decoding)
        made = Stream(self.run, self.model, self.runner, NullStage(), spent, self.cache).play(play)[play.arm]
        return [
            self._group(prompt, [attempt for attempt in made if attempt.sample // size == place])
            for place, prompt in enumerate(prompts)
        ]

    def _group(self, prompt: RewardPrompt, attempts: Sequence[Attempt]) -> Group:
        config = self.run.config
        return Group(prompt, attempts, [reward_of(a, prompt, config.train, config.seed) for a in attempts])


def reward_of(attempt: Attempt, prompt: RewardPrompt, config: TrainConfig, seed: int) -> float:
    """Return 1 if the program passes all checks, ``train.reward_of_copy`` if it is a copy of the failed one, and else 0.

    With ``train.reward_by`` "random" it is 1 or 0 by chance.
    """
    if config.reward_by == "random":
        return float(random.Random(f"{seed}:reward:{attempt.id}").random() < 0.5)
    if attempt.passed and attempt.public.passed:
        return 1.0
    return config.reward_of_copy if is_copy(attempt, prompt) else 0.0


def is_copy(attempt: Attempt, prompt: RewardPrompt) -> bool:
    """Return whether the program is the failed one that the prompt shows, apart from its layout."""
    if prompt.parent is None:
        return False
    normalise = domain_of(prompt.task.domain).normalise
    return attempt.finish == "copy" or normalise(attempt.code) == normalise(prompt.parent.code)


def pass_rates(groups: Iterable[Group]) -> dict[str, float]:
    """Return the pass rates of the prompts that were completed, by their keys."""
    return {group.prompt.key: group.pass_rate for group in groups if group.attempts}


def remembered_rates(rollouts: Iterable[Attempt]) -> dict[str, float]:
    """Return the pass rates as they were last found in these stored rollouts, by the keys of their prompts."""
    last: dict[str, tuple[str, list[bool]]] = {}
    for attempt in sorted(rollouts, key=lambda a: a.arm):
        key, passed = attempt.parent or attempt.task_id, attempt.passed and attempt.public.passed
        arm, found = last.get(key, ("", []))
        last[key] = (attempt.arm, [*found, passed] if arm == attempt.arm else [passed])
    return {key: mean(found) for key, (_, found) in last.items()}


def examples_of(group: Group, model: Model, *, merged: bool = True) -> list[Example]:
    """Return the group's completions as examples whose tokens weigh the completion's advantage.

    Completions of the same tokens are ``merged`` into one that weighs as much as all of them, which gives the same gradient.
    """
    first = group.attempts[0]
    prefix = domain_of(group.prompt.task.domain).reply_prefix
    prompt = tuple(model.render([{"role": "user", "content": first.prompt}], reply_prefix=prefix))
    weights: dict[tuple[int, ...] | tuple[str, tuple[int, ...]], float] = {}
    tokens: dict[tuple[int, ...] | tuple[str, tuple[int, ...]], tuple[int, ...]] = {}
    for attempt, advantage in zip(group.attempts, group.advantages, strict=True):
        key = attempt.tokens if merged else (attempt.id, attempt.tokens)
        weights[key] = weights.get(key, 0.0) + advantage
        tokens[key] = attempt.tokens
    name = f"{group.prompt.kind} {group.prompt.key}"
    return [
        Example((*prompt, *tokens[key]), len(prompt), name, (weight,) * len(tokens[key]))
        for key, weight in weights.items()
        if weight and tokens[key]
    ]
