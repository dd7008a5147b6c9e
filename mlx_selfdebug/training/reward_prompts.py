"""Choose the prompts of a reward step: repairs of own failures, repairs of bugs, and drafts, mixed by the shares in the settings.

Where all completions of a prompt get the same reward, nothing can be learned from it. So the share of completions that passed is
remembered for each prompt, and prompts of which some pass and some fail come more often. The choice depends on the seed, the step
and what was remembered before it, and on nothing else: a resumed training asks what an uninterrupted one would have asked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.policies import repairable
from mlx_selfdebug.training.selection import to_repair
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

PromptKind = Literal["repair", "bug", "draft"]
KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
LEARNABLE = (0.1, 0.9)
"""The pass rates between which a prompt is worth asking again: of eight completions, one to seven pass."""
UNSEEN_WEIGHT, LEARNABLE_WEIGHT, SETTLED_WEIGHT = 1.0, 4.0, 0.25
"""How likely a prompt is to be chosen, relative to others: one that was never asked, one that is learnable, and one that was not
learnable when it was last asked. The last kind still comes at times, because the model changes."""


@dataclass(frozen=True)
class RewardPrompt:
    """A prompt whose completions are rewarded."""

    kind: PromptKind
    task: Task
    parent: Attempt | None = None
    """The failed attempt that the prompt shows; None for a draft."""

    @property
    def key(self) -> str:
        """The prompt's name, which attempts made from it lead back to."""
        return self.parent.id if self.parent else self.task.id


def prompts_of(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig) -> list[RewardPrompt]:
    """Return every prompt that may be asked: for each task its draft, and its repairs of different failures and bugs.

    At most ``train.failed_per_task`` own failures and as many bugs of a task are among them. Kinds whose share is 0 are left out.
    """
    failed = to_repair(attempts, tasks, config.failed_per_task)
    prompts = [RewardPrompt("draft", task) for task in tasks]
    for task in tasks:
        prompts += [RewardPrompt("bug" if a.arm == planting.ARM else "repair", task, a) for a in failed[task.id]]
    wanted = shares(config)
    return [prompt for prompt in prompts if wanted[prompt.kind]]


def latest_failures(drafts: Iterable[Attempt]) -> dict[str, Attempt]:
    """Return the failed draft of each task that may be shown to be repaired, by the task's id: the first of the latest step.

    ``drafts`` are rollouts, whose arms are in the order of their steps. So repairs are asked of what the model gets wrong now, and
    not only of what it got wrong when the run was collected.
    """
    latest: dict[str, Attempt] = {}
    failed = [draft for draft in drafts if not draft.parent and repairable(draft)]
    for draft in sorted(failed, key=lambda a: (a.arm, -a.sample)):
        latest[draft.task_id] = draft
    return latest


def shares(config: TrainConfig) -> dict[PromptKind, float]:
    return {
        "repair": config.reward_repair_share,
        "bug": config.reward_bug_share,
        "draft": config.reward_draft_share,
    }


def described(prompts: Sequence[RewardPrompt]) -> dict[str, Any]:
    """Return how many prompts there are of each kind, and a digest of all of them, by which a resumed training knows them."""
    digest = hashlib.sha256(repr([(prompt.kind, prompt.key) for prompt in prompts]).encode()).hexdigest()
    return {**{kind: sum(prompt.kind == kind for prompt in prompts) for kind in KINDS}, "digest": digest[:16]}


def choose(
    prompts: Sequence[RewardPrompt], step: int, rates: Mapping[str, float], config: TrainConfig, seed: int
) -> list[RewardPrompt]:
    """Return the prompts of ``step``, at most ``train.reward_prompts`` different ones.

    ``rates`` gives the pass rates of the prompts that were asked before, by their keys, as they were the last time.
    """
    # Efraimidis and Spirakis 2006: the largest u^(1/w) are a weighted sample without replacement.
    drawn = sorted(
        ((_uniform(seed, step, p) ** (1 / _weight(rates.get(p.key))), i) for i, p in enumerate(prompts)), reverse=True
    )
    counts = _counts(prompts, step, config)
    chosen: list[int] = []
    for kind, n in counts.items():
        chosen += [i for _, i in drawn if prompts[i].kind == kind][:n]
    # A kind that runs short leaves its places to the others.
    missing = min(config.reward_prompts, len(prompts)) - len(chosen)
    taken = set(chosen)
    chosen += [i for _, i in drawn if i not in taken][:missing]
    return [prompts[i] for i in chosen]


def _counts(prompts: Sequence[RewardPrompt], step: int, config: TrainConfig) -> dict[PromptKind, int]:
    """Return how many prompts of each kind a step has. Over the steps the numbers add up to the shares."""
    present = {prompt.kind for prompt in prompts}
    wanted = {kind: share for kind, share in shares(config).items() if kind in present}
    n, whole, before = config.reward_prompts, sum(wanted.values()), 0.0
    counts: dict[PromptKind, int] = {}
    for kind, share in wanted.items():
        # The places of all steps together are a line, cut at the cumulative shares; each cut is rounded down in every step.
        low, high = before / whole, (before + share) / whole
        counts[kind] = _places(high, step, n) - _places(low, step, n)
        before += share
    return counts


def _places(share: float, step: int, n: int) -> int:
    """Return how many of the ``n`` places of ``step`` lie below ``share``, so that over all steps it is this share of them."""
    exact = 1e-9
    return int((step + 1) * n * share + exact) - int(step * n * share + exact)


def _weight(rate: float | None) -> float:
    if rate is None:
        return UNSEEN_WEIGHT
    return LEARNABLE_WEIGHT if LEARNABLE[0] <= rate <= LEARNABLE[1] else SETTLED_WEIGHT


def _uniform(seed: int, step: int, prompt: RewardPrompt) -> float:
    return random.Random(f"{seed}:{step}:{prompt.kind}:{prompt.key}").random()
