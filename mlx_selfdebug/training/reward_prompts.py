"""Choose the prompts of a reward step: repairs of own failures, repairs of bugs, and drafts, mixed by the shares in the settings.

If all completions of a prompt get the same reward, nothing can be learned from them. So each prompt's pass rate, the share of its
completions that passed, is remembered. A prompt is chosen more often if some of its completions passed and some failed. The choice
depends only on the seed, the step and the pass rates from earlier steps, so a resumed training chooses the same prompts as one that
was not interrupted.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.policies import repairable
from mlx_selfdebug.training.selection import to_repair
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model

PromptKind = Literal["repair", "bug", "draft"]
"""What a prompt shows: the model's own failed code ("repair"), a bug ("bug"), or the task alone ("draft")."""
KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
"""All kinds of prompts."""
LEARNABLE = (0.1, 0.9)
"""The lowest and the highest pass rate of a prompt from which much can be learned: of eight completions, one to seven pass."""
UNSEEN_WEIGHT, LEARNABLE_WEIGHT, SETTLED_WEIGHT = 1.0, 4.0, 0.25
"""How likely a prompt is to be chosen, relative to others.

The first weight is for a prompt that was never chosen, the second for a prompt whose latest pass rate is ``LEARNABLE``, and the
third for a prompt whose latest pass rate is not. The last kind is still chosen at times, because the model changes.
"""


@dataclass(frozen=True)
class RewardPrompt:
    """A prompt whose completions are rewarded."""

    kind: PromptKind
    task: Task
    parent: Attempt | None = None
    """The failed attempt or the bug that the prompt shows; None for a draft."""

    @property
    def key(self) -> str:
        """The id of the attempt that the prompt shows or, for a draft, of the task. The completions are stored with this id."""
        return self.parent.id if self.parent else self.task.id


def prompts_of(attempts: Sequence[Attempt], tasks: Sequence[Task], config: TrainConfig) -> list[RewardPrompt]:
    """Return all prompts that may be chosen: the draft of each task, and the repairs of its failed attempts and bugs.

    A task has at most ``train.failed_per_task`` repairs of failed attempts and as many of bugs, all of different code. Kinds whose
    share is 0 are left out.
    """
    failed = to_repair(attempts, tasks, config.failed_per_task)
    prompts = [RewardPrompt("draft", task) for task in tasks]
    for task in tasks:
        prompts += [RewardPrompt("bug" if a.arm == planting.ARM else "repair", task, a) for a in failed[task.id]]
    wanted = shares(config)
    return [prompt for prompt in prompts if wanted[prompt.kind]]


def latest_failures(drafts: Iterable[Attempt]) -> dict[str, Attempt]:
    """Return one failed draft per task, by the task's id: the first of the latest step that has a draft that can be repaired.

    ``drafts`` are rollouts, whose arms are in the order of their steps. The model is asked to repair these drafts, so that it
    learns from what it gets wrong now, and not only from what it got wrong when the run was collected.
    """
    latest: dict[str, Attempt] = {}
    failed = [draft for draft in drafts if not draft.parent and repairable(draft)]
    # Of several drafts of a task, the last one in this order is kept: the one with the smallest sample in the latest step.
    for draft in sorted(failed, key=lambda a: (a.arm, -a.sample)):
        latest[draft.task_id] = draft
    return latest


def shares(config: TrainConfig) -> dict[PromptKind, float]:
    """Return the share of each kind of prompt from the settings. The shares need not add up to 1."""
    return {
        "repair": config.reward_repair_share,
        "bug": config.reward_bug_share,
        "draft": config.reward_draft_share,
    }


def count_tokens(prompt: RewardPrompt, model: Model) -> int:
    """Return the number of tokens of ``prompt`` as it is rendered for ``model``."""
    domain = domain_of(prompt.task.domain)
    text = domain.repair_prompt(prompt.task, prompt.parent) if prompt.parent else domain.prompt(prompt.task)
    return len(model.render([{"role": "user", "content": text}], reply_prefix=domain.reply_prefix))


def describe(prompts: Sequence[RewardPrompt]) -> dict[str, int | str]:
    """Return the number of prompts of each kind, and a "digest" of all prompts, by which a resumed training recognises them."""
    counts: dict[str, int] = {kind: sum(prompt.kind == kind for prompt in prompts) for kind in KINDS}
    digest = hashlib.sha256(repr([(prompt.kind, prompt.key) for prompt in prompts]).encode()).hexdigest()
    return {**counts, "digest": digest[:16]}


def choose(
    prompts: Sequence[RewardPrompt], step: int, rates: Mapping[str, float], config: TrainConfig, seed: int
) -> list[RewardPrompt]:
    """Return the prompts of ``step``, at most ``train.reward_prompts`` different ones.

    Args:
        prompts: all prompts that may be chosen.
        step: the number of the step.
        rates: the latest pass rate of each prompt that was chosen before, by the prompt's key.
        config: the settings of training.
        seed: the seed of the choice.
    """
    # The prompts with the largest u^(1/weight), for u drawn uniformly, are a weighted sample without replacement (Efraimidis and
    # Spirakis 2006, "Weighted random sampling with a reservoir").
    ranks = [
        (_uniform(seed, step, prompt) ** (1 / _weight(rates.get(prompt.key))), i) for i, prompt in enumerate(prompts)
    ]
    order = [i for _, i in sorted(ranks, reverse=True)]
    chosen: list[int] = []
    for kind, n in _counts(prompts, step, config).items():
        chosen += [i for i in order if prompts[i].kind == kind][:n]
    # A kind that runs short leaves its places to the others.
    n_missing = min(config.reward_prompts, len(prompts)) - len(chosen)
    taken = set(chosen)
    chosen += [i for i in order if i not in taken][:n_missing]
    return [prompts[i] for i in chosen]


def _counts(prompts: Sequence[RewardPrompt], step: int, config: TrainConfig) -> dict[PromptKind, int]:
    """Return how many prompts of each kind a step has, so that the numbers of all steps together are as the shares say.

    With 8 prompts and a share of 0.2, a step has 1 or 2 prompts of the kind, and 1.6 on average.
    """
    present = {prompt.kind for prompt in prompts}
    wanted = {kind: share for kind, share in shares(config).items() if kind in present}
    n, whole, earlier_shares = config.reward_prompts, sum(wanted.values()), 0.0
    counts: dict[PromptKind, int] = {}
    for kind, share in wanted.items():
        # The kinds of a step divide its places at their cumulative shares. So the counts of a step add up to its places.
        low, high = earlier_shares / whole, (earlier_shares + share) / whole
        counts[kind] = _places_below(high, step, n) - _places_below(low, step, n)
        earlier_shares += share
    return counts


def _places_below(share: float, step: int, n: int) -> int:
    """Return how many of the ``n`` places of ``step`` lie below a cumulative share.

    The places of all steps up to this one have been rounded down together, so rounding errors do not add up over the steps.
    """
    tolerance = 1e-9  # A product that falls just short of a whole number, by rounding, must not lose a place.
    return int((step + 1) * n * share + tolerance) - int(step * n * share + tolerance)


def _weight(rate: float | None) -> float:
    """Return how likely a prompt with the pass rate ``rate`` is to be chosen, relative to others; None if it was never chosen."""
    if rate is None:
        return UNSEEN_WEIGHT
    return LEARNABLE_WEIGHT if LEARNABLE[0] <= rate <= LEARNABLE[1] else SETTLED_WEIGHT


def _uniform(seed: int, step: int, prompt: RewardPrompt) -> float:
    """Draw a number from 0 to 1 that depends on nothing but seed, step and prompt."""
    return random.Random(f"{seed}:{step}:{prompt.kind}:{prompt.key}").random()
