"""Estimate the memory and time of a run's stages before any weights are loaded.

The memory of decoding follows from the shapes of weights and caches. That of training follows from steps with a few of the model's
layers (``training/probe.py``). Times are those of the model's first layers, measured here, times the amount that a stage computes.
That amount is a guess: how many completions there will be, and how long they are, is taken from the default model on the starter
tasks. So the memory can be relied on, while the time only tells minutes from hours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.auditing.mutants import MUTABLE
from mlx_selfdebug.config import CollectConfig, Config, EvalConfig, TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.evaluation.arms import Arm, arms_named
from mlx_selfdebug.evaluation.bugs import NONE, OPERATORS
from mlx_selfdebug.models.load import Model, load_thin, loaded_bytes, open_model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.asking import FACTS_TOKENS, Asking
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.width import plan_decoding
from mlx_selfdebug.stages.common import decoding_of
from mlx_selfdebug.stages.rewards import for_planning, rollout_decoding
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.examples import encode_pairs
from mlx_selfdebug.training.plan import GroupWorkload, Planner, Workload, processes_bytes
from mlx_selfdebug.training.probe import first_layers, layer_count, min_layers
from mlx_selfdebug.training.reward_prompts import shares
from mlx_selfdebug.values.task import Task

COMPLETION_TOKENS, PAIR_TOKENS, PAIR_SUPERVISED = 80, 320, 80
"""The tokens of a usual completion, the tokens of a usual pair, and how many of the pair's tokens are supervised."""
UNSOLVED_SHARE = {"collect": 0.15, "evaluate": 0.4}
"""The share of tasks that come to a repair, per stage."""
FOUND_SHARE = 0.4
"""The share of failed programs for which a search finds an edit that passes, so that nothing is decoded."""
PUBLISHED_BUGS = 164
"""The number of bugs in HumanEvalFix."""
FULL_SHARE = 0.7
"""The share of a batch's rows that are busy, over a whole stage. At the end of a stage few are."""
WATCHER_BYTES = 60 * 10**6
"""The memory of the process that watches a stage, on Linux."""
PROBED_PROMPT, PROBED_STEPS = 64, 4
"""The tokens of a prompt and the number of decode steps whose time is measured."""


@dataclass(frozen=True)
class StageEstimate:
    """What one stage is estimated to take."""

    stage: str
    peak_bytes: int
    """The peak memory of the process tree. If the stage does not fit its budget, it is the smallest budget that it would fit."""
    budget_bytes: int
    wall_s: float | None
    """About how many seconds the stage takes; None if it does not fit its budget."""
    hint: str = ""
    """What to change if the stage does not fit its budget."""

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.budget_bytes


def estimate(config: Config, run: Run | None = None, *, progress: Progress | None = None) -> list[StageEstimate]:
    """Return what the stages collect, train, rewards (if there are reward steps) and evaluate will take with these settings.

    If ``run`` has pairs, training is estimated for these pairs. Raises ModelError and TaskError as the stages would. A budget that
    is too small is not an error: the estimate says so.
    """
    model = open_model(config.model, progress=progress)
    estimates = []
    names = ["collect", "train", *(["rewards"] if config.train.reward_steps else []), "evaluate"]
    with (progress or NullProgress()).stage("estimate", len(names), "stages") as stage:
        for name in names:
            if name == "train":
                estimates.append(_training(model, config, run))
            elif name == "rewards":
                estimates.append(_rewards(model, config))
            else:
                estimates.append(_decoding(model, config, name))
            stage.advance(1)
    return estimates


def training_planner(model: Model, config: TrainConfig) -> Planner:
    """Return the planner for a model whose weights have not been read. A few of its layers are loaded to be measured."""
    fixed = processes_bytes() + loaded_bytes(model)
    thin = load_thin(model, min(layer_count(model.config), 2 * min_layers(model.config)))
    return Planner(thin, model.config, config, fixed)


def _training(model: Model, config: Config, run: Run | None) -> StageEstimate:
    budget = int(config.budget.training_gb * 1e9)
    planner = training_planner(model, config.train)
    planner = replace(planner, fixed_bytes=planner.fixed_bytes + WATCHER_BYTES)
    try:
        plan = planner.plan(_workload(model, config.train, run), budget)
    except BudgetError as error:
        return StageEstimate("train", error.needed_bytes, budget, None, error.hint or "")
    return StageEstimate("train", plan.peak_bytes, budget, plan.wall_s)


def _rewards(model: Model, config: Config) -> StageEstimate:
    """Return what the training by rewards will take: the larger of its decoding and its gradients, and the time of both.

    Repairs of held-back tasks, by which the step is chosen, are not in the time.
    """
    train, budget = config.train, int(config.budget.training_gb * 1e9)
    tasks = load_tasks(config.collect.tasks).spread(config.collect.limit)
    decoding = rollout_decoding(config)
    asking = Asking(model, tasks, decoding, config.seed, "rewards")
    longest = min(train.max_length, model.context) - train.reward_max_tokens
    drafts = train.reward_draft_share / (sum(shares(train).values()) or 1.0)
    usual = sum(asking.prompt_lengths) / len(tasks) + (1 - drafts) * (COMPLETION_TOKENS + FACTS_TOKENS / 2)
    work = GroupWorkload.of_steps([round(min(usual, longest))] * train.reward_prompts, train, COMPLETION_TOKENS)
    work = replace(work, prompt=min(max(asking.prompt_lengths) + decoding.max_tokens + FACTS_TOKENS, longest))
    planner = training_planner(model, for_planning(train))
    planner = replace(planner, fixed_bytes=planner.fixed_bytes + WATCHER_BYTES)
    limits = {"budget_bytes": budget, "reserved_bytes": decoding.reserved_bytes}
    try:
        plan = planner.plan(work, budget)
        rows = min(decoding.batch_size, train.reward_prompts * train.reward_group_size)
        decode_plan = plan_decoding(
            model.network,
            model.name,
            loaded_bytes(model),
            **limits,
            max_rows=rows,
            max_row_tokens=asking.max_row_tokens,
        )
    except BudgetError as error:
        return StageEstimate("rewards", error.needed_bytes, budget, None, error.hint or "")
    completions = train.reward_prompts * train.reward_group_size
    width = max(1, min(decode_plan.width, completions))
    token_s, step_s = _speed(model, width)
    tokens = completions * min(COMPLETION_TOKENS, train.reward_max_tokens)
    rollouts_s = train.reward_prompts * usual * token_s + tokens / (width * FULL_SHARE) * step_s
    peak = max(plan.peak_bytes, decode_plan.predicted_bytes)
    return StageEstimate("rewards", peak, budget, plan.wall_s + train.reward_steps * rollouts_s)


def _workload(model: Model, config: TrainConfig, run: Run | None) -> Workload:
    codes = {attempt.id: attempt.code for attempt in run.attempts()} if run else {}
    pairs = run.pairs() if run else []
    examples, _ = encode_pairs(
        model, pairs, config.max_length, codes, config.copied_weight, distilled=config.distilled_share > 0
    )
    if examples:
        return Workload.of(examples)
    longest = config.max_length - 1
    lengths = [longest, *[min(PAIR_TOKENS, longest)] * (config.max_pairs - 1)]
    return Workload(lengths, config.max_pairs * min(PAIR_SUPERVISED, longest))


def _decoding(model: Model, config: Config, stage: str) -> StageEstimate:
    stage_config = config.collect if stage == "collect" else config.eval
    tasks = load_tasks(stage_config.tasks).spread(stage_config.limit)
    decoding = decoding_of(stage_config, config)
    asking = Asking(model, tasks, decoding, config.seed, stage)
    budget = {"budget_bytes": decoding.budget_bytes, "reserved_bytes": decoding.reserved_bytes}
    try:
        plan = plan_decoding(
            model.network,
            model.name,
            loaded_bytes(model),
            **budget,
            max_rows=decoding.batch_size,
            max_row_tokens=asking.max_row_tokens,
        )
    except BudgetError as error:
        return StageEstimate(stage, error.needed_bytes, decoding.budget_bytes, None, error.hint or "")
    drafts, repairs = _attempts(stage_config, tasks)
    models = 2 if stage == "evaluate" else 1
    prompts = sum(asking.prompt_lengths) * models + repairs * (max(asking.prompt_lengths) + COMPLETION_TOKENS)
    tokens = (drafts + repairs) * min(COMPLETION_TOKENS, stage_config.max_tokens)
    width = max(1, min(plan.width, drafts))
    token_s, step_s = _speed(model, width)
    return StageEstimate(
        stage, plan.predicted_bytes, decoding.budget_bytes, prompts * token_s + tokens / (width * FULL_SHARE) * step_s
    )


def _attempts(config: CollectConfig | EvalConfig, tasks: Sequence[Task]) -> tuple[int, int]:
    """Return about how many drafts and how many repairs a stage will decode."""
    if isinstance(config, CollectConfig):
        repairs = UNSOLVED_SHARE["collect"] * len(tasks) * config.rounds * config.repairs
        return len(tasks) * config.samples, round(repairs)
    rounds = config.tokens / min(COMPLETION_TOKENS, config.max_tokens)
    by_arm = [_share_decoded(arm) for arm in arms_named(config.arms) if arm.decodes]
    # A bug needs no draft, and every arm begins with all bugs. About half of them are taken to be solved on the way.
    failed = UNSOLVED_SHARE["evaluate"] * len(tasks) * max(0, rounds - 1) + _bugs(config, tasks) * rounds / 2
    return 2 * len(tasks) + config.hard_drafts * len(tasks), round(2 * failed * sum(by_arm))


def _share_decoded(arm: Arm) -> float:
    return 1 - FOUND_SHARE if arm.edits else 1.0


def _bugs(config: EvalConfig, tasks: Sequence[Task]) -> int:
    """Return about how many bugs there will be."""
    if config.bugs == NONE:
        return 0
    n_python = sum(task.domain in MUTABLE for task in tasks)
    n = config.bugs_per_task * n_python if config.bugs == OPERATORS else PUBLISHED_BUGS
    return min(n, config.bugs_limit) if config.bugs_limit else n


def _speed(model: Model, width: int) -> tuple[float, float]:
    """Return the seconds that the whole model takes per token of a prompt, and per decode step of ``width`` rows."""
    total = layer_count(model.config)
    few = min(total, min_layers(model.config, recompute=False))
    thin = load_thin(model, min(total, 2 * few))
    costs = []
    for layers in sorted({few, len(thin.layers)}):
        with first_layers(thin, layers):
            costs.append((layers, *_probe_decoding(replace(model, network=thin), width)))
    del thin
    mx.clear_cache()
    (a, token_a, step_a), (b, token_b, step_b) = costs[0], costs[-1]
    more = (total - a) / max(1, b - a)
    return token_a + more * max(0.0, token_b - token_a), step_a + more * max(0.0, step_b - step_a)


def _probe_decoding(model: Model, width: int) -> tuple[float, float]:
    """Return the seconds per token of a prompt and per decode step of ``width`` rows, measured with ``model``.

    What is measured are two short prompts and some steps of a full batch.
    """
    decoder = BatchDecoder(model, width, chunk=PROBED_PROMPT)
    for first in (1, 2):
        decoder.submit(Request((first,) * PROBED_PROMPT, max_tokens=1))
        decoder.step()
    token_s = decoder.counts.prefill_s / decoder.counts.prefilled_tokens
    for row in range(width):
        decoder.submit(Request((3 + row % 9, 4), max_tokens=PROBED_STEPS + 1, temperature=0.8, min_p=0.05, seed=row))
    decoder.step()
    begin = time.perf_counter()
    for _ in range(PROBED_STEPS):
        decoder.step()
    return token_s, (time.perf_counter() - begin) / PROBED_STEPS
