"""Run the stage ``rewards``: go on from the adapter of the pairs, or from none, with rewards for programs that pass their checks.

Each step draws completions of a few prompts from the model as it is, tests them and makes one update (``training/rollouts.py``,
``training/reward_update.py``). The stage runs after the training on pairs, in the same process, if ``train.reward_steps`` is not 0.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.config import Config, TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.errors import StoreError, TrainingError
from mlx_selfdebug.models.adapters import WEIGHTS
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair import planting
from mlx_selfdebug.repair.asking import FACTS_TOKENS, Decoding
from mlx_selfdebug.stages.common import measured
from mlx_selfdebug.stages.within_budget import greedy_decoding, planned, with_adapter
from mlx_selfdebug.store import Key, Run, StoredRun
from mlx_selfdebug.store.files import making_folder
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import Adapter, open_adapter, save_adapter
from mlx_selfdebug.training.plan import GroupWorkload
from mlx_selfdebug.training.prompt_states import can_share
from mlx_selfdebug.training.reward_prompts import RewardPrompt, describe, prompts_of
from mlx_selfdebug.training.reward_session import RewardSession
from mlx_selfdebug.training.rollouts import ARM, Rollouts
from mlx_selfdebug.training.selection import ARM as HELD_BACK_ARM
from mlx_selfdebug.training.selection import REWARDS, Selection, held_back_tasks
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

STAGE = "rewards"
USUAL_COMPLETION = 80
"""The tokens of a usual completion, by which the time is estimated."""


def train_by_rewards(
    run: Run,
    model: Model,
    *,
    tasks: Sequence[Task] | None = None,
    progress: Progress | None = None,
    allow_weak_sandbox: bool = False,
    smaller: int = 0,
) -> Adapter:
    """Train the run's adapter by rewards, save it in the place of the one that pairs gave, and return it.

    The parameters are those of :func:`mlx_selfdebug.stages.train.train`. The adapter that pairs gave stays in the run's folder
    ``adapter-of-pairs``. The kept adapter is that of the step after which the model repaired most failed attempts of the tasks that
    were held back; it may be the one that the stage began with. Why the stage ended is recorded with the run.

    Raises ConfigError if the prompts are other ones than when the stage began, TrainingError if there are none, and otherwise what
    ``train`` raises.
    """
    if run.is_done(STAGE):
        return open_adapter(run.adapter_path)
    config = run.config.train
    with measured(run, STAGE, run.config.budget.training_gb) as spent, ExitStack() as stack:
        trained_on, held_back = _tasks_to_train_on(run, tasks), held_back_tasks(run, tasks)
        prompts, lengths = _prompts(run, model, trained_on)
        mix = {
            **describe(prompts),
            "shares": [config.reward_repair_share, config.reward_bug_share, config.reward_draft_share],
        }
        run.require(Key.REWARD_PROMPTS, mix, "mix of prompts for rewards")
        _say_what_is_rewarded(prompts, config)
        if config.reward_kl and not can_share(model.network):
            raise TrainingError(
                f"train.reward_kl is not supported for {model.name}, whose layers cannot go on from a prompt that is computed once",
                hint="start a run with --train-reward-kl 0",
            )
        begun_with = _begun_with(run)
        with spent.on("planning"):
            longest = _longest(prompts, lengths, config, model)
            work = replace(GroupWorkload.of_steps(lengths, config, USUAL_COMPLETION), prompt=longest)
            plan = stack.enter_context(planned(run, model, work, for_planning(config), smaller, f"{STAGE}."))
        runner = stack.enter_context(
            open_runner(run.config.sandbox, [*trained_on, *held_back], allow_weak_sandbox=allow_weak_sandbox)
        )
        settings = stack.enter_context(with_adapter(model, config, run.config.seed))
        if begun_with:
            model.network.load_weights(str(begun_with.path / WEIGHTS), strict=False)
            mx.eval(model.network.trainable_parameters())
        origin = {"prompts": mix["digest"], "adapter": begun_with.digest() if begun_with else ""}
        selection = None
        if held_back:
            digest = f"{REWARDS}{mix['digest']}"
            arm = f"{HELD_BACK_ARM}/{ARM}"
            selection = Selection(run, model, held_back, runner, greedy_decoding(run.config), digest, arm)
        rollouts = Rollouts(run, model, runner, rollout_decoding(run.config))
        session = RewardSession(
            rollouts, prompts, plan, spent, origin, lambda prompt: _length(model, prompt) <= longest, selection
        )
        with (progress or NullProgress()).stage(STAGE, config.reward_steps, "steps") as stage:
            ending = session.make_steps(stage.advance)
        run.remember(Key.REWARD_ENDING, asdict(ending))
        logger.info("rewards: %s; the adapter is that after %d steps", ending.reason, ending.kept)
        adapter = save_adapter(model.network, run.adapter_path, settings, model.origin)
    shutil.rmtree(run.rewards_path, ignore_errors=True)
    return adapter


def for_planning(config: TrainConfig) -> TrainConfig:
    """Return the settings by which the steps of rewards are planned like those of pairs: each group once, one row at a time."""
    return replace(config, epochs=1, batch_size=2, distilled_share=float(config.reward_kl > 0))


def rollout_decoding(config: Config) -> Decoding:
    """Return how rollouts are decoded: from the model's own distribution, within the memory budget of training."""
    longest = config.train.reward_max_tokens
    return replace(greedy_decoding(config), temperature=1.0, min_p=0.0, max_tokens=longest, keep_tokens=True)


def _tasks_to_train_on(run: StoredRun, tasks: Sequence[Task] | None) -> list[Task]:
    """Return the tasks that the run collected on, without those that were held back or left out.

    Raises TrainingError if one of them is not there.
    """
    facts, collect = run.facts(), run.config.collect
    wanted = [id_ for id_ in facts.training_tasks if id_ not in {*facts.held_back, *facts.weak_tasks}]
    known = {task.id: task for task in (load_tasks(collect.tasks).spread(collect.limit) if tasks is None else tasks)}
    if missing := [id_ for id_ in wanted if id_ not in known]:
        raise TrainingError(
            f"{len(missing)} of the tasks that the run collected on are missing, {missing[0]} among them",
            hint="give train() the tasks that were given to collect()",
        )
    return [known[id_] for id_ in wanted]


def _prompts(run: Run, model: Model, tasks: Sequence[Task]) -> tuple[list[RewardPrompt], list[int]]:
    """Return the prompts that may be asked, and the number of tokens of each. Those that are too long are left out and counted."""
    config = run.config.train
    room = _room(config, model)
    prompts = prompts_of([*run.attempts("collect"), *run.attempts(planting.ARM)], tasks, config)
    lengths = [_length(model, prompt) for prompt in prompts]
    kept = [(prompt, n) for prompt, n in zip(prompts, lengths, strict=True) if n <= room]
    if not prompts:
        raise TrainingError(
            f"{run.path} has no prompts to reward completions of",
            hint="collect on more tasks, or start a run with a larger --train-reward-draft-share",
        )
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
    return [prompt for prompt, _ in kept], [n for _, n in kept]


def _room(config: TrainConfig, model: Model) -> int:
    """Return how many tokens a prompt may have, so that a completion has room beside it."""
    return min(config.max_length, model.context) - config.reward_max_tokens


def _longest(prompts: Sequence[RewardPrompt], lengths: Sequence[int], config: TrainConfig, model: Model) -> int:
    """Return the number of tokens of the longest prompt to plan for, which may be the repair of a draft that is not made yet."""
    drafts = [n for prompt, n in zip(prompts, lengths, strict=True) if prompt.kind == "draft"]
    if not drafts or not config.reward_repair_share:
        return max(lengths)
    repair = max(drafts) + config.reward_max_tokens + FACTS_TOKENS
    return max(*lengths, min(repair, _room(config, model)))


def _length(model: Model, prompt: RewardPrompt) -> int:
    domain = domain_of(prompt.task.domain)
    text = domain.repair_prompt(prompt.task, prompt.parent) if prompt.parent else domain.prompt(prompt.task)
    return len(model.render([{"role": "user", "content": text}], reply_prefix=domain.reply_prefix))


def _say_what_is_rewarded(prompts: Sequence[RewardPrompt], config: TrainConfig) -> None:
    """Warn of tasks whose hidden checks add nothing to the public ones."""
    if config.reward_by == "random":
        logger.warning(
            "rewards are given by chance (train.reward_by), as a control: nothing is to be learned from them"
        )
        return
    tasks = {prompt.task.id: prompt.task for prompt in prompts}
    same = [task.id for task in tasks.values() if not task.hidden or task.hidden == task.public]
    if same:
        logger.warning(
            "the hidden checks of %d of %d tasks are the public ones, %s among them: there a program is rewarded for passing what "
            "its prompt may show, so one that only repeats the expected values is rewarded as well", len(same), len(tasks), same[0]
        )  # fmt: skip


def _begun_with(run: Run) -> Adapter | None:
    """Return the adapter that pairs gave, which is put aside the first time, or None if the run did not train on pairs."""
    aside: Path = run.pairs_adapter_path
    if not aside.exists():
        if not run.is_done("train"):
            return None
        try:
            with making_folder(aside) as made:
                shutil.copytree(run.adapter_path, made, dirs_exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the adapter of the pairs cannot be copied to {aside}: {error}", hint="free some space and train again"
            ) from error
    return open_adapter(aside)
