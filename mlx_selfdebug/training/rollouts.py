"""Make the rollouts of a reward step: several completions of each prompt, drawn from the model as it is, tested and rewarded.

Rollouts are attempts in an arm of their own, "rewards/000012" for step 12, and hold the tokens that were decoded. The ``sample`` of
a rollout is its number within the step. So the key and the seed of a rollout do not depend on when it is made, and a stored rollout
is never drawn again.

A completion's advantage is its reward minus the mean reward of its group. It is not divided by the standard deviation, which would
weigh groups that are almost always right or wrong more than others (Dr. GRPO: Liu et al. 2025, "Understanding R1-Zero-Like
Training: A Critical Perspective", arXiv 2503.20783).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from mlx_selfdebug.values.feedback import CODE_ONLY
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

ARM = "rewards"
"""The first part of the names of the arms of rollouts."""


def arm_of(step: int) -> str:
    """Return the name of the arm of a step's rollouts."""
    return f"{ARM}/{step:06d}"


def step_of(attempt: Attempt) -> int | None:
    """Return the number of the step that made ``attempt``, or None if it is not a rollout."""
    arm, _, number = attempt.arm.partition("/")
    return int(number) if arm == ARM else None


@dataclass(frozen=True)
class CompletionGroup:
    """The completions of one prompt, with their rewards.

    >>> CompletionGroup(prompt, attempts, [1, 0, 0, 0]).advantages  # doctest: +SKIP
    [0.75, -0.25, -0.25, -0.25]
    """

    prompt: RewardPrompt
    attempts: Sequence[Attempt]
    """The completions. There are fewer than were asked for, or none, if the prompt did not fit the context."""
    rewards: Sequence[float]
    """The reward of each attempt."""

    @property
    def pass_rate(self) -> float:
        """The share of completions that passed all checks, public and hidden."""
        return mean(attempt.passed and attempt.public.passed for attempt in self.attempts)

    @property
    def varied(self) -> bool:
        """Whether two completions have different rewards. Otherwise there is nothing to learn from the group."""
        return len(set(self.rewards)) > 1

    @property
    def advantages(self) -> list[float]:
        """Each completion's reward minus the mean reward of the group."""
        return [reward - mean(self.rewards) for reward in self.rewards]

    @property
    def n_copies(self) -> int:
        """The number of completions that only repeat the failed program in the prompt."""
        return sum(is_copy(attempt, self.prompt) for attempt in self.attempts)


@dataclass(frozen=True)
class _CompleteEach:
    """A policy that completes each of a step's prompts several times."""

    moves_by_task: Mapping[str, Sequence[Move]]
    """All moves of the step, by the ids of their tasks."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return [] if attempts else self.moves_by_task[task.id]


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one run, which are made step by step."""

    run: Run
    """The run, which stores the rollouts."""
    model: Model
    runner: TestRunner
    """Runs the tests of the completions."""
    decoding: Decoding
    """How completions are decoded: at a temperature of 1 and without ``min_p``, so from the distribution that is trained."""

    @cached_property
    def cache(self) -> VerdictCache:
        """The verdicts on programs that were tested before. They are read from the store once, and not in every step."""
        return VerdictCache(self.runner, self.run.attempts())

    def make(self, step: int, prompts: Sequence[RewardPrompt], spent: Spent) -> list[CompletionGroup]:
        """Return the groups of ``step``, one per prompt. Stored completions are used, and the missing ones are made now."""
        size = self.run.config.train.reward_group_size
        moves: dict[str, list[Move]] = {}
        for place, prompt in enumerate(prompts):
            round_ = 1 if prompt.parent else 0
            group = [Move(place * size + i, round_, prompt.parent) for i in range(size)]
            moves.setdefault(prompt.task.id, []).extend(group)
        tasks = list({prompt.task.id: prompt.task for prompt in prompts}.values())
        play = Play(arm_of(step), tasks, _CompleteEach(moves), self._showing_facts(prompts))
        made = Stream(self.run, self.model, self.runner, NullStage(), spent, self.cache).play(play)[play.arm]
        return [
            self._group(prompt, [attempt for attempt in made if attempt.sample // size == place])
            for place, prompt in enumerate(prompts)
        ]

    def _showing_facts(self, prompts: Sequence[RewardPrompt]) -> Decoding:
        """Return the decoding with what ``train.facts`` says about the facts that the repairs among ``prompts`` show.

        The facts of another task are those of the next prompt of another task. If no other task of the step failed, none are shown.
        """
        facts = self.run.config.train.facts
        if facts == "own":
            return self.decoding
        parents = [(prompt.task.id, prompt.parent) for prompt in prompts if prompt.parent]
        borrowed: dict[str, Attempt] = {}
        for place, (task_id, _) in enumerate(parents):
            following = (*parents[place + 1 :], *parents[:place])
            if other := next((parent for id_, parent in following if id_ != task_id), None):
                borrowed.setdefault(task_id, other)
        if facts == "none" or not borrowed:
            return replace(self.decoding, feedback=CODE_ONLY)
        return replace(self.decoding, borrowed=borrowed)

    def _group(self, prompt: RewardPrompt, attempts: Sequence[Attempt]) -> CompletionGroup:
        """Return ``attempts``, which are completions of ``prompt``, with their rewards."""
        config = self.run.config
        return CompletionGroup(prompt, attempts, [reward_of(a, prompt, config.train, config.seed) for a in attempts])


def reward_of(attempt: Attempt, prompt: RewardPrompt, config: TrainConfig, seed: int) -> float:
    """Return the reward of a completion.

    It is 1 if the program passes all checks, ``train.reward_of_copy`` if it is a copy of the failed program, and 0 otherwise. If
    ``train.reward_by`` is "random", it is 1 or 0 by chance.
    """
    if config.reward_by == "random":
        return float(random.Random(f"{seed}:reward:{attempt.id}").random() < 0.5)
    if attempt.passed and attempt.public.passed:
        return 1.0
    return config.reward_of_copy if is_copy(attempt, prompt) else 0.0


def is_copy(attempt: Attempt, prompt: RewardPrompt) -> bool:
    """Return whether the program equals the failed program in the prompt, apart from its layout."""
    if prompt.parent is None:
        return False
    normalise = domain_of(prompt.task.domain).normalise
    return attempt.finish == "copy" or normalise(attempt.code) == normalise(prompt.parent.code)


def pass_rates(groups: Iterable[CompletionGroup]) -> dict[str, float]:
    """Return the pass rates of the groups that have completions, by the keys of their prompts."""
    return {group.prompt.key: group.pass_rate for group in groups if group.attempts}


def remembered_rates(rollouts: Iterable[Attempt]) -> dict[str, float]:
    """Return the pass rate of each prompt in the latest step that chose it, by the prompt's key, from stored rollouts."""
    latest: dict[str, tuple[str, list[bool]]] = {}
    for attempt in sorted(rollouts, key=lambda a: a.arm):
        key, passed = attempt.parent or attempt.task_id, attempt.passed and attempt.public.passed
        arm, results = latest.get(key, ("", []))
        latest[key] = (attempt.arm, [*results, passed] if arm == attempt.arm else [passed])
    return {key: mean(results) for key, (_, results) in latest.items()}


def examples_of(group: CompletionGroup, model: Model, *, merged: bool = True) -> list[Example]:
    """Return the group's completions as examples. Each of a completion's tokens weighs the completion's advantage.

    A completion without tokens gives no example. If ``merged``, completions of the same tokens become one example that weighs as
    much as all of them, which gives the same gradient, and a weight of 0 gives no example. If not ``merged``, every completion
    gives an example of its own, because the divergence from the base counts each of them, whatever its weight.
    """
    first = group.attempts[0]
    prefix = domain_of(group.prompt.task.domain).reply_prefix
    prompt = tuple(model.render([{"role": "user", "content": first.prompt}], reply_prefix=prefix))
    completions = [
        (attempt.tokens, advantage) for attempt, advantage in zip(group.attempts, group.advantages, strict=True)
    ]
    if merged:
        weights: dict[tuple[int, ...], float] = {}
        for tokens, advantage in completions:
            weights[tokens] = weights.get(tokens, 0.0) + advantage
        completions = list(weights.items())
    name = f"{group.prompt.kind} {group.prompt.key}"
    return [
        Example((*prompt, *tokens), len(prompt), name, (weight,) * len(tokens))
        for tokens, weight in completions
        if tokens and (weight or not merged)
    ]
