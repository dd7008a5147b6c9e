"""Estimate the memory and time of a run's stages before the whole model is loaded.

The memory of decoding follows from the shapes of weights and caches. The memory of training is measured by steps with a few of the
model's layers (``training/probe.py``).

A time is the product of two figures. The speed of the model is measured here, with its first layers. The number of tokens that a
stage computes is a guess: it assumes as many completions, and as long ones, as the default model made on the starter tasks. So the
memory can be relied on, while the time only tells minutes from hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.auditing.mutants import MUTABLE
from mlx_selfdebug.config import CollectConfig, Config, EvalConfig, TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.evaluation.arms import arms_named
from mlx_selfdebug.evaluation.bugs import NONE, OPERATORS
from mlx_selfdebug.models.load import Model, load_thin, loaded_bytes, open_model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.asking import FACTS_TOKENS, Asking, Decoding
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.width import DecodingPlan, plan_decoding
from mlx_selfdebug.stages.common import COMPLETION_TOKENS, decoding_of
from mlx_selfdebug.stages.rewards import for_planning, max_prompt_tokens, rollout_decoding
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.examples import encode_pairs
from mlx_selfdebug.training.plan import GroupWorkload, Planner, Workload, processes_bytes
from mlx_selfdebug.training.probe import first_layers, layer_count, min_layers
from mlx_selfdebug.training.reward_prompts import shares
from mlx_selfdebug.values.task import Task

PAIR_TOKENS, PAIR_SUPERVISED = 320, 80
"""The number of tokens of a usual pair, and how many of them are supervised."""
UNSOLVED_SHARE = {"collect": 0.15, "evaluate": 0.4}
"""The share of tasks that are still unsolved when a stage comes to its repairs."""
FIXED_BY_EDIT_SHARE = 0.4
"""The share of failed programs for which a search finds an edit that passes, so that nothing is decoded."""
PUBLISHED_BUGS = 164
"""The number of bugs in HumanEvalFix."""
BUSY_SHARE = 0.7
"""The share of a batch's rows that are busy, on average over a stage. At the end of a stage only a few are."""
WATCHER_BYTES = 60 * 10**6
"""The memory of the process that watches a stage, on Linux."""
PROBED_PROMPT, PROBED_STEPS = 64, 4
"""The number of tokens in a prompt and the number of decode steps whose time is measured."""


@dataclass(frozen=True)
class StageEstimate:
    """The memory and time that one stage is estimated to take."""

    stage: str
    peak_bytes: int
    """The peak memory of the process tree or, if the stage does not fit its budget, the smallest budget that it would fit."""
    budget_bytes: int
    """The memory budget of the stage."""
    wall_s: float | None
    """The seconds that the stage takes, roughly; None if it does not fit its budget."""
    hint: str = ""
    """What to change if the stage does not fit its budget."""

    @property
    def fits(self) -> bool:
        """Whether the stage fits its budget."""
        return self.peak_bytes <= self.budget_bytes


def estimate(config: Config, run: Run | None = None, *, progress: Progress | None = None) -> list[StageEstimate]:
    """Return the estimates of the stages collect, train, rewards (if there are reward steps) and evaluate, in this order.

    If ``run`` has pairs, training is estimated for these pairs. Raises ModelError and TaskError as the stages would. A budget that
    is too small is not an error: the estimate says so.
    """
    model = open_model(config.model, progress=progress)
    estimators: list[Callable[[], StageEstimate]] = [
        partial(_estimate_decoding, model, config, "collect"),
        partial(_estimate_training, model, config, run),
        *([partial(_estimate_rewards, model, config)] if config.train.reward_steps else []),
        partial(_estimate_decoding, model, config, "evaluate"),
    ]
    estimates = []
    with (progress or NullProgress()).stage("estimate", len(estimators), "stages") as stage:
        for estimator in estimators:
            estimates.append(estimator())
            stage.advance(1)
    return estimates


def training_planner(model: Model, config: TrainConfig) -> Planner:
    """Return the planner for a model whose weights have not been read. A few of its layers are loaded to be measured."""
    fixed_bytes = processes_bytes() + loaded_bytes(model)
    thin = load_thin(model, min(layer_count(model.config), 2 * min_layers(model.config)))
    return Planner(thin, model.config, config, fixed_bytes)


def _estimate_decoding(model: Model, config: Config, stage: str) -> StageEstimate:
    """Estimate the stage "collect" or "evaluate" by the memory and time of decoding."""
    stage_config = config.collect if stage == "collect" else config.eval
    tasks = load_tasks(stage_config.tasks).spread(stage_config.limit)
    decoding = decoding_of(stage_config, config)
    asking = Asking(model, tasks, decoding, config.seed, stage)
    try:
        plan = _plan_decoding(model, decoding, decoding.batch_size, asking.max_row_tokens)
    except BudgetError as error:
        return StageEstimate(stage, error.needed_bytes, decoding.budget_bytes, None, error.hint or "")
    drafts, repairs = _count_attempts(stage_config, tasks)
    # The base and the adapter each read the prompts of an evaluation. A repair's prompt also shows the failed code.
    n_models = 2 if stage == "evaluate" else 1
    repair_prompt_tokens = max(asking.prompt_lengths) + COMPLETION_TOKENS
    prompt_tokens = sum(asking.prompt_lengths) * n_models + repairs * repair_prompt_tokens
    completion_tokens = (drafts + repairs) * min(COMPLETION_TOKENS, stage_config.max_tokens)
    width = max(1, min(plan.width, drafts))
    wall_s = _decoding_s(model, prompt_tokens, completion_tokens, width)
    return StageEstimate(stage, plan.predicted_bytes, decoding.budget_bytes, wall_s)


def _estimate_training(model: Model, config: Config, run: Run | None) -> StageEstimate:
    """Estimate training on the pairs of ``run`` or, if it has none, on as many usual pairs as the settings allow."""
    budget_bytes = int(config.budget.training_gb * 1e9)
    planner = _with_watcher(training_planner(model, config.train))
    try:
        plan = planner.plan(_workload(model, config.train, run), budget_bytes)
    except BudgetError as error:
        return StageEstimate("train", error.needed_bytes, budget_bytes, None, error.hint or "")
    return StageEstimate("train", plan.peak_bytes, budget_bytes, plan.wall_s)


def _estimate_rewards(model: Model, config: Config) -> StageEstimate:
    """Estimate training by rewards. Its peak is the larger one of decoding and gradients, and its time is the sum of both.

    The time does not include the repairs of held-back tasks, by which the step is chosen.
    """
    train, budget_bytes = config.train, int(config.budget.training_gb * 1e9)
    tasks = load_tasks(config.collect.tasks).spread(config.collect.limit)
    decoding = rollout_decoding(config)
    asking = Asking(model, tasks, decoding, config.seed, "rewards")
    usual_prompt = _usual_reward_prompt(train, asking.prompt_lengths)
    longest_prompt = max(asking.prompt_lengths) + decoding.max_tokens + FACTS_TOKENS
    work = _reward_workload(train, usual_prompt, longest_prompt, max_prompt_tokens(train, model))
    planner = _with_watcher(training_planner(model, for_planning(train)))
    n_completions = train.reward_prompts * train.reward_group_size
    try:
        plan = planner.plan(work, budget_bytes)
        max_rows = min(decoding.batch_size, n_completions)
        decoding_plan = _plan_decoding(model, decoding, max_rows, asking.max_row_tokens)
    except BudgetError as error:
        return StageEstimate("rewards", error.needed_bytes, budget_bytes, None, error.hint or "")
    width = max(1, min(decoding_plan.width, n_completions))
    completion_tokens = n_completions * min(COMPLETION_TOKENS, train.reward_max_tokens)
    rollouts_s = _decoding_s(model, train.reward_prompts * usual_prompt, completion_tokens, width)
    peak_bytes = max(plan.peak_bytes, decoding_plan.predicted_bytes)
    return StageEstimate("rewards", peak_bytes, budget_bytes, plan.wall_s + train.reward_steps * rollouts_s)


def _usual_reward_prompt(config: TrainConfig, draft_lengths: Sequence[int]) -> float:
    """Return the mean number of tokens of the prompts of reward steps, given the lengths of the tasks' draft prompts."""
    draft_share = config.reward_draft_share / (sum(shares(config).values()) or 1.0)
    # All other prompts are those of repairs, which also show failed code and its facts.
    shown = COMPLETION_TOKENS + FACTS_TOKENS / 2
    return sum(draft_lengths) / len(draft_lengths) + (1 - draft_share) * shown


def _reward_workload(config: TrainConfig, usual_prompt: float, longest_prompt: int, max_prompt: int) -> GroupWorkload:
    """Return what all reward steps compute. The first two lengths are cut to ``max_prompt``, since longer prompts are left out."""
    lengths = [round(min(usual_prompt, max_prompt))] * config.reward_prompts
    work = GroupWorkload.of_steps(lengths, config, COMPLETION_TOKENS)
    return replace(work, prompt=min(longest_prompt, max_prompt))


def _plan_decoding(model: Model, decoding: Decoding, max_rows: int, max_row_tokens: int) -> DecodingPlan:
    """Return the plan by which ``model`` would decode. Raises BudgetError if not even one row fits."""
    return plan_decoding(
        model.network,
        model.name,
        loaded_bytes(model),
        budget_bytes=decoding.budget_bytes,
        reserved_bytes=decoding.reserved_bytes,
        max_rows=max_rows,
        max_row_tokens=max_row_tokens,
    )


def _with_watcher(planner: Planner) -> Planner:
    """Return ``planner`` with the memory of one more process: the one by which the command line watches a training."""
    return replace(planner, fixed_bytes=planner.fixed_bytes + WATCHER_BYTES)


def _workload(model: Model, config: TrainConfig, run: Run | None) -> Workload:
    """Return what there is to train on: the pairs of ``run``, or ``train.max_pairs`` usual ones and the longest that is allowed."""
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


def _count_attempts(config: CollectConfig | EvalConfig, tasks: Sequence[Task]) -> tuple[int, int]:
    """Return about how many drafts and how many repairs a stage will decode."""
    if isinstance(config, CollectConfig):
        repairs = UNSOLVED_SHARE["collect"] * len(tasks) * config.rounds * config.repairs
        return len(tasks) * config.samples, round(repairs)
    rounds = config.tokens / min(COMPLETION_TOKENS, config.max_tokens)
    decoded_shares = [1 - FIXED_BY_EDIT_SHARE if arm.edits else 1.0 for arm in arms_named(config.arms) if arm.decodes]
    # An arm begins with the failed drafts, whose first round is over, and with all bugs, which need no draft. About half of the
    # bugs are taken to be solved on the way.
    own_repairs = UNSOLVED_SHARE["evaluate"] * len(tasks) * max(0, rounds - 1)
    bug_repairs = _count_bugs(config, tasks) * rounds / 2
    # Two models play every arm: the base and the adapter.
    repairs = 2 * (own_repairs + bug_repairs) * sum(decoded_shares)
    return 2 * len(tasks) + config.hard_drafts * len(tasks), round(repairs)


def _count_bugs(config: EvalConfig, tasks: Sequence[Task]) -> int:
    """Return about how many bugs an evaluation will have."""
    if config.bugs == NONE:
        return 0
    n_python = sum(task.domain in MUTABLE for task in tasks)
    n = config.bugs_per_task * n_python if config.bugs == OPERATORS else PUBLISHED_BUGS
    return min(n, config.bugs_limit) if config.bugs_limit else n


def _decoding_s(model: Model, prompt_tokens: float, completion_tokens: float, width: int) -> float:
    """Return the seconds that it takes to compute prompts and to decode completions in a batch of ``width`` rows."""
    token_s, step_s = _speed(model, width)
    n_steps = completion_tokens / (width * BUSY_SHARE)
    return prompt_tokens * token_s + n_steps * step_s


def _speed(model: Model, width: int) -> tuple[float, float]:
    """Return the seconds that the whole model takes per token of a prompt, and per decode step of ``width`` rows.

    They are measured with a few layers and with twice as many, and extrapolated to all layers in a straight line.
    """
    total = layer_count(model.config)
    few = min(total, min_layers(model.config, recompute=False))
    thin = load_thin(model, min(total, 2 * few))
    more = len(thin.layers)
    times: dict[int, tuple[float, float]] = {}
    for layers in sorted({few, more}):
        with first_layers(thin, layers):
            times[layers] = _probe_decoding(replace(model, network=thin), width)
    del thin
    mx.clear_cache()
    # If the model has only few layers, there is a single measurement, and nothing is added to it.
    n_differences = (total - few) / max(1, more - few)
    token_s, step_s = (
        with_few + n_differences * max(0.0, with_more - with_few)
        for with_few, with_more in zip(times[few], times[more], strict=True)
    )
    return token_s, step_s


def _probe_decoding(model: Model, width: int) -> tuple[float, float]:
    """Measure the seconds per token of a prompt and per decode step of ``width`` rows, with the layers that ``model`` has."""
    decoder = BatchDecoder(model, width, chunk=PROBED_PROMPT)
    # Two different prompts, because the second of two equal ones would not be computed.
    for token in (1, 2):
        decoder.submit(Request((token,) * PROBED_PROMPT, max_tokens=1))
        decoder.step()
    token_s = decoder.counts.prefill_s / decoder.counts.prefilled_tokens
    # One token more than is timed, because the first step also gives the rows to the requests. What the tokens are does not matter.
    for row in range(width):
        decoder.submit(Request((3 + row % 9, 4), max_tokens=PROBED_STEPS + 1, temperature=0.8, min_p=0.05, seed=row))
    decoder.step()
    begin = time.perf_counter()
    for _ in range(PROBED_STEPS):
        decoder.step()
    return token_s, (time.perf_counter() - begin) / PROBED_STEPS
