"""Run the stage ``rewards``: train an adapter by rewards for programs that pass their checks (reinforcement learning).

Each step draws completions of a few prompts from the model as it is, tests them (``training/rollouts.py``) and makes one update of
the adapter (``training/reward_update.py``). The stage begins with the adapter that was trained on pairs, or with a fresh one if
there are no pairs. It runs after training on pairs, in the same process, if ``train.reward_steps`` is not 0.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.config import Config, TrainConfig
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import StoreError, TrainingError
from mlx_selfdebug.models.adapters import WEIGHTS
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import Progress
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.asking import FACTS_TOKENS, Decoding
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.common import COMPLETION_TOKENS, measured
from mlx_selfdebug.stages.within_budget import greedy_decoding, planned, with_adapter
from mlx_selfdebug.store import Key, ProgressFile, Run
from mlx_selfdebug.store.files import making_folder
from mlx_selfdebug.training.adapter import Adapter, open_adapter, save_adapter
from mlx_selfdebug.training.plan import GroupWorkload
from mlx_selfdebug.training.prompt_states import can_share
from mlx_selfdebug.training.reward_prompts import RewardPrompt, count_tokens, describe, prompts_of
from mlx_selfdebug.training.reward_session import RewardSession
from mlx_selfdebug.training.rollouts import ARM, Rollouts
from mlx_selfdebug.training.selection import ARM as HELD_BACK_ARM
from mlx_selfdebug.training.selection import REWARDS, Selection, held_back_tasks, tasks_to_train_on
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

STAGE = "rewards"
"""The name of the stage."""


@dataclass(frozen=True)
class _PromptSet:
    """The prompts that may be chosen in a step."""

    prompts: Sequence[RewardPrompt]
    lengths: Sequence[int]
    """The number of tokens of each prompt."""
    max_length: int
    """The number of tokens for which memory is planned per prompt. A later repair of a draft may be longer than all ``lengths``."""


def train_by_rewards(
    run: Run,
    model: Model,
    *,
    tasks: Sequence[Task] | None = None,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
    skip_shapes: int = 0,
) -> Adapter:
    """Train the run's adapter by rewards, save it in the place of the adapter that was trained on pairs, and return it.

    The parameters are described at ``stages.train.train``. Of the adapters after the steps, the one is kept with which the model
    repairs most failed attempts of the held-back tasks. This may be the adapter that the stage began with. A copy of the adapter
    that was trained on pairs stays in ``adapter-of-pairs`` in the run's folder. Why the stage ended is recorded with the run.

    Raises ConfigError if the prompts are not those with which the stage began, TrainingError if there are no prompts, and otherwise
    what ``train`` raises.
    """
    if run.is_done(STAGE):
        return open_adapter(run.adapter_path)
    config = run.config.train
    with measured(run, STAGE, run.config.budget.training_gb) as spent, ExitStack() as stack:
        trained_on, held_back = tasks_to_train_on(run, tasks), held_back_tasks(run, tasks)
        prompt_set = _prompt_set(run, model, trained_on)
        digest = _require_same_prompts(run, prompt_set.prompts)
        _warn_of_weak_rewards(prompt_set.prompts, config)
        _require_support_of_kl(model, config)
        with spent.on("planning"):
            work = _workload(prompt_set, config)
            plan = stack.enter_context(planned(run, model, work, for_planning(config), skip_shapes, f"{STAGE}."))
        runner = stack.enter_context(
            open_runner(run.config.sandbox, [*trained_on, *held_back], allow_weak_sandbox=allow_weak_sandbox)
        )
        settings = stack.enter_context(with_adapter(model, config, run.config.seed))
        origin = {"prompts": digest, "adapter": _load_pairs_adapter(run, model)}
        rollouts = Rollouts(run, model, runner, rollout_decoding(run.config))
        selection = _selection(run, model, held_back, runner, digest)
        session = RewardSession(rollouts, prompt_set.prompts, prompt_set.max_length, plan, spent, origin, selection)
        with ProgressFile(run.path, progress).stage(STAGE, config.reward_steps, "steps") as stage:
            ending = session.make_steps(stage.advance)
        run.remember(Key.REWARD_ENDING, asdict(ending))
        logger.info("rewards: %s; the adapter is that after %d steps", ending.reason, ending.kept)
        adapter = save_adapter(model.network, run.adapter_path, settings, model.origin)
    shutil.rmtree(run.rewards_path, ignore_errors=True)
    return adapter


def for_planning(config: TrainConfig) -> TrainConfig:
    """Return the settings with which ``training.plan`` plans reward steps as if they were steps on pairs.

    - ``epochs`` is 1, because each group of completions is computed once.
    - ``batch_size`` is 2, so that the plan has memory for two gradients: the sum so far, and that of the next rows.
    - ``distilled_share`` is 1 if ``reward_kl`` is set, because both are computed from the base's distribution and cost the same.
    """
    return replace(config, epochs=1, batch_size=2, distilled_share=float(config.reward_kl > 0))


def rollout_decoding(config: Config) -> Decoding:
    """Return how rollouts are decoded: from the model's own distribution, and within the memory budget of training."""
    max_tokens = config.train.reward_max_tokens
    return replace(greedy_decoding(config), temperature=1.0, min_p=0.0, max_tokens=max_tokens, keep_tokens=True)


def max_prompt_tokens(config: TrainConfig, model: Model) -> int:
    """Return the largest number of tokens that a prompt may have, so that there is room for a completion after it."""
    return min(config.max_length, model.context) - config.reward_max_tokens


def _prompt_set(run: Run, model: Model, tasks: Sequence[Task]) -> _PromptSet:
    """Return the prompts that may be chosen. A warning says how many are left out because they are too long.

    Raises TrainingError if there are no prompts, or if all of them are too long.
    """
    config = run.config.train
    room = max_prompt_tokens(config, model)
    prompts = prompts_of([*run.attempts("collect"), *run.attempts(planting.ARM)], tasks, config)
    if not prompts:
        raise TrainingError(
            f"{run.path} has no prompts to reward completions of",
            hint="collect on more tasks, or start a run with a larger --train-reward-draft-share",
        )
    lengths = [count_tokens(prompt, model) for prompt in prompts]
    kept = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= room]
    kept_lengths = [length for length in lengths if length <= room]
    if len(kept) < len(prompts):
        logger.warning(
            "%d of %d prompts for rewards are longer than %d tokens and left out: train.max_length or the context leaves no more "
            "beside a completion of %d", len(prompts) - len(kept), len(prompts), room, config.reward_max_tokens
        )  # fmt: skip
    if not kept:
        raise TrainingError(
            f"all {len(prompts)} prompts for rewards are longer than {room} tokens",
            hint="start a run with a larger --train-max-length or a smaller --train-reward-max-tokens",
        )
    max_length = max(kept_lengths)
    drafts = [length for prompt, length in zip(kept, kept_lengths, strict=True) if prompt.kind == "draft"]
    if drafts and config.reward_repair_share:
        # The repair of a failed draft shows the draft and its facts too.
        repair = max(drafts) + config.reward_max_tokens + FACTS_TOKENS
        max_length = max(max_length, min(repair, room))
    return _PromptSet(kept, kept_lengths, max_length)


def _require_same_prompts(run: Run, prompts: Sequence[RewardPrompt]) -> str:
    """Store the mix of prompts with the run, or check that it is the stored one, and return the prompts' digest.

    Raises ConfigError if another mix is stored.
    """
    config, description = run.config.train, describe(prompts)
    shares = [config.reward_repair_share, config.reward_bug_share, config.reward_draft_share]
    run.require(Key.REWARD_PROMPTS, {**description, "shares": shares}, "mix of prompts for rewards")
    return str(description["digest"])


def _warn_of_weak_rewards(prompts: Sequence[RewardPrompt], config: TrainConfig) -> None:
    """Warn if rewards are given by chance, or if the hidden checks of some tasks add nothing to the public ones."""
    if config.reward_by == "random":
        logger.warning(
            "rewards are given by chance (train.reward_by), as a control: nothing is to be learned from them"
        )
        return
    tasks = {prompt.task.id: prompt.task for prompt in prompts}
    only_public = [task.id for task in tasks.values() if not task.hidden or task.hidden == task.public]
    if only_public:
        logger.warning(
            "the hidden checks of %d of %d tasks are the public ones, %s among them: there a program is rewarded for passing what "
            "its prompt may show, so one that only repeats the expected values is rewarded as well",
            len(only_public), len(tasks), only_public[0],
        )  # fmt: skip


def _require_support_of_kl(model: Model, config: TrainConfig) -> None:
    """Raise TrainingError if the divergence from the base is wanted, but the model's layers do not support it."""
    if config.reward_kl and not can_share(model.network):
        raise TrainingError(
            f"train.reward_kl is not supported for {model.name}, whose layers cannot go on from a prompt that is computed once",
            hint="start a run with --train-reward-kl 0",
        )


def _workload(prompt_set: _PromptSet, config: TrainConfig) -> GroupWorkload:
    """Return what all steps compute, with the longest prompt that may come up in any of them."""
    work = GroupWorkload.of_steps(prompt_set.lengths, config, COMPLETION_TOKENS)
    return replace(work, prompt=prompt_set.max_length)


def _load_pairs_adapter(run: Run, model: Model) -> str:
    """Load the adapter that was trained on pairs into the fresh adapter of ``model``, and return the digest of its weights.

    Return "" and leave the fresh adapter as it is if the run did not train on pairs. The stage replaces the run's adapter in the
    end. So the first call puts a copy of it aside, from which a resumed stage begins as well. Raises StoreError if that fails.
    """
    aside = run.pairs_adapter_path
    if not aside.exists():
        if not run.is_done("train"):
            return ""
        try:
            with making_folder(aside) as folder:
                shutil.copytree(run.adapter_path, folder, dirs_exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the adapter of the pairs cannot be copied to {aside}: {error}", hint="free some space and train again"
            ) from error
    adapter = open_adapter(aside)
    model.network.load_weights(str(adapter.path / WEIGHTS), strict=False)
    mx.eval(model.network.trainable_parameters())
    return adapter.digest()


def _selection(run: Run, model: Model, tasks: Sequence[Task], runner: TestRunner, digest: str) -> Selection | None:
    """Return the choice of the best step by repairs of the held-back ``tasks``, or None if there are none.

    The repairs are stored under another digest and in another arm than those of training on pairs, which they must not replace.
    """
    if not tasks:
        return None
    arm = f"{HELD_BACK_ARM}/{ARM}"
    return Selection(run, model, tasks, runner, greedy_decoding(run.config), f"{REWARDS}{digest}", arm)
