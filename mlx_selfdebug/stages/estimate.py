"""What a run's stages will take, before any weights are loaded: bytes against the budget, and about how many seconds.

Bytes of decoding follow from the shapes of weights and caches, those of training from steps with a few of the model's layers
(``training/probe.py``). Seconds are those of the model's first layers, measured here, times what the stage computes; how many
completions there will be, and how long, is not known before: they are taken to be like those of the default model on the starter
tasks. So bytes are to be relied on, and seconds say minutes from hours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.config import CollectConfig, Config, EvalConfig, TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.evaluation.arms import Arm, arms_named
from mlx_selfdebug.evaluation.bugs import NONE, OPERATORS
from mlx_selfdebug.models.load import Model, load_thin, loaded_bytes, open_model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.repair.asking import Asking
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.width import plan_decoding
from mlx_selfdebug.stages.common import decoding_of
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.examples import encode_pairs
from mlx_selfdebug.training.plan import Planner, Workload, processes_bytes
from mlx_selfdebug.training.probe import fewest_layers, first_layers, layer_count
from mlx_selfdebug.values.task import Task

COMPLETION_TOKENS, PAIR_TOKENS, PAIR_SUPERVISED = 80, 320, 80
"""Of a usual completion and a usual pair."""
UNSOLVED_SHARE = {"collect": 0.15, "evaluate": 0.4}
"""Tasks that come to a repair."""
FOUND_SHARE = 0.4
"""Failed programs for which a search finds an edit, so that nothing is decoded."""
PUBLISHED_BUGS = 164
"""Of HumanEvalFix."""
FULL_SHARE = 0.7
"""Rows of a batch that are busy, over a stage: at its end few are."""
WATCHER_BYTES = 60 * 10**6
"""Of the process that watches a stage, on Linux."""
PROBED_PROMPT, PROBED_STEPS = 64, 4


@dataclass(frozen=True)
class StageEstimate:
    """``peak_bytes`` of the process tree; where it does not fit, the least that would, and ``hint`` says what to change."""

    stage: str
    peak_bytes: int
    budget_bytes: int
    wall_s: float | None
    hint: str = ""

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.budget_bytes


def estimate(config: Config, run: Run | None = None, *, progress: Progress | None = None) -> list[StageEstimate]:
    """Collect, train and evaluate with these settings. With a run that has pairs, training is that on its pairs.

    Raises ModelError and TaskError as the stages would; a budget that is too small is no error but a result.
    """
    model = open_model(config.model, progress=progress)
    found = []
    with (progress or NullProgress()).stage("estimate", 3, "stages") as stage:
        for name in ("collect", "train", "evaluate"):
            found.append(_training(model, config, run) if name == "train" else _decoding(model, config, name))
            stage.advance(1)
    return found


def training_planner(model: Model, config: TrainConfig) -> Planner:
    """For a model whose weights are unread: its probes load a few layers."""
    fixed = processes_bytes() + loaded_bytes(model)
    thin = load_thin(model, min(layer_count(model.config), 2 * fewest_layers(model.config)))
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


def _workload(model: Model, config: TrainConfig, run: Run | None) -> Workload:
    examples = encode_pairs(model, run.pairs(), config.max_length)[0] if run else []
    if examples:
        return Workload.of(examples)
    longest = config.max_length - 1
    lengths = [longest, *[min(PAIR_TOKENS, longest)] * (config.max_pairs - 1)]
    return Workload(lengths, config.max_pairs * min(PAIR_SUPERVISED, longest))


def _decoding(model: Model, config: Config, stage: str) -> StageEstimate:
    how = config.collect if stage == "collect" else config.eval
    tasks = load_tasks(how.tasks).spread(how.limit)
    decoding = decoding_of(how, config)
    asking = Asking(model, tasks, decoding, config.seed, stage)
    budget = {"budget_bytes": decoding.budget_bytes, "reserved_bytes": decoding.reserved_bytes}
    try:
        plan = plan_decoding(
            model.network, model.name, loaded_bytes(model), **budget, most=decoding.batch_size, longest=asking.longest
        )
    except BudgetError as error:
        return StageEstimate(stage, error.needed_bytes, decoding.budget_bytes, None, error.hint or "")
    drafts, repairs = _attempts(how, tasks)
    models = 2 if stage == "evaluate" else 1
    prompts = sum(asking.prompt_lengths) * models + repairs * (max(asking.prompt_lengths) + COMPLETION_TOKENS)
    tokens = (drafts + repairs) * min(COMPLETION_TOKENS, how.max_tokens)
    width = max(1, min(plan.width, drafts))
    token_s, step_s = _speed(model, width)
    return StageEstimate(
        stage, plan.predicted_bytes, decoding.budget_bytes, prompts * token_s + tokens / (width * FULL_SHARE) * step_s
    )


def _attempts(how: CollectConfig | EvalConfig, tasks: Sequence[Task]) -> tuple[int, int]:
    """About how many drafts and repairs."""
    if isinstance(how, CollectConfig):
        return len(tasks) * how.samples, round(UNSOLVED_SHARE["collect"] * len(tasks) * how.rounds * how.repairs)
    rounds = how.tokens / min(COMPLETION_TOKENS, how.max_tokens)
    by_arm = [_share_decoded(arm) for arm in arms_named(how.arms) if arm.decodes]
    # A bug has cost no draft, and every arm begins with all of them; about half are solved on the way.
    failed = UNSOLVED_SHARE["evaluate"] * len(tasks) * max(0, rounds - 1) + _bugs(how, tasks) * rounds / 2
    return 2 * len(tasks) + how.hard_drafts * len(tasks), round(2 * failed * sum(by_arm))


def _share_decoded(arm: Arm) -> float:
    return 1 - FOUND_SHARE if arm.edits else 1.0


def _bugs(how: EvalConfig, tasks: Sequence[Task]) -> int:
    """About how many there will be."""
    if how.bugs == NONE:
        return 0
    n = how.bugs_per_task * sum(task.domain == "python" for task in tasks) if how.bugs == OPERATORS else PUBLISHED_BUGS
    return min(n, how.bugs_limit) if how.bugs_limit else n


def _speed(model: Model, width: int) -> tuple[float, float]:
    """Seconds of a prompt's token and of a decode step of ``width`` rows, of the whole model."""
    total = layer_count(model.config)
    few = min(total, fewest_layers(model.config, recompute=False))
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
    """Two prompts to warm up and to time, then some steps of a full batch."""
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
