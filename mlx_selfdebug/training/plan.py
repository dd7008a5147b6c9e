"""Choose how a training is computed within its memory budget: by the quickest of ``loop.STEP_SHAPES`` that fits.

The memory and time of each shape are extrapolated from steps with a few layers (``probe.py``). If no shape fits, an error names a
budget that is large enough, and the longest pair that fits the present budget.

>>> planner = Planner(model.network, model.config, config, fixed_bytes=2 * 10**9)  # doctest: +SKIP
>>> plan = planner.plan(Workload.of(examples), budget_bytes=10 * 10**9)  # doctest: +SKIP
>>> plan.shape, plan.peak_bytes, plan.wall_s  # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.memory import tree_bytes
from mlx_selfdebug.training.batches import padded_length
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import STEP_SHAPES, StepShape
from mlx_selfdebug.training.loss import HEAD_ROWS
from mlx_selfdebug.training.probe import Rows, layer_count, measure

MAX_CACHE_BYTES = 10**9
"""The largest number of bytes of freed buffers that MLX may keep. On the CPU it keeps none, since they gain nothing there."""
SHORTER_LENGTHS = (768, 512, 384, 256, 192, 128, 64)
"""The lengths, in tokens, that are tried for the longest pair when a budget is too small."""
SMALLER_GROUPS = (4, 2)
"""The sizes that are tried for a group of completions when a budget is too small."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a training is computed, and the memory and time that it is estimated to take."""

    shape: StepShape
    """How much of a step is computed and kept at a time."""
    peak_bytes: int
    """The peak memory of the process tree, including ``cache_bytes``."""
    cache_bytes: int
    """The largest number of bytes of freed buffers that MLX may keep."""
    wall_s: float
    """About how many seconds all steps take together."""


@dataclass(frozen=True)
class Workload:
    """How much there is to train on. A row is an example, or in training by rewards a whole group."""

    lengths: Sequence[int]
    """The number of computed tokens of each row, without padding."""
    supervised: int
    """The number of supervised tokens of all rows together."""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Workload:
        """Return the workload of one epoch over ``examples``."""
        return cls([len(e.ids) - 1 for e in examples], sum(e.n_supervised for e in examples))

    def largest(self, shape: StepShape, batch_size: int) -> Rows:
        """Return the largest micro-batch that may occur: the longest row, and as many more of that length as fit beside it."""
        longest = padded_length(max(self.lengths))
        n = max(1, min(len(self.lengths), batch_size, shape.max_tokens // longest))
        return Rows(n, longest, min(HEAD_ROWS, longest))

    @property
    def largest_item(self) -> str:
        """A description of the largest item, which has to fit in any case, for an error message."""
        return f"pairs of up to {max(self.lengths) + 1} tokens"

    def smaller(self) -> Iterator[tuple[str, Workload]]:
        """Yield smaller workloads to try if this one does not fit, each after the words that say what the user would have to do."""
        longest = max(self.lengths) + 1
        for length in SHORTER_LENGTHS:
            if length < longest:
                shorter = replace(self, lengths=[min(length - 1, n) for n in self.lengths])
                yield f"a run with --train-max-length {length}", shorter


@dataclass(frozen=True)
class GroupWorkload(Workload):
    """The groups of a training by rewards. A group is the completions of one prompt, which is computed once (``shared_prompt.py``).

    The completions of a group are computed some at a time. So a group of any size fits as soon as its prompt and one completion do.
    """

    prompt: int
    """The number of tokens of the longest prompt."""
    completion: int
    """The largest number of tokens of a completion."""
    size: int
    """The number of completions per prompt."""

    @classmethod
    def of_steps(cls, prompts: Sequence[int], config: TrainConfig, usual_completion: int) -> GroupWorkload:
        """Return the workload of all reward steps.

        ``prompts`` are the lengths of the prompts that may be chosen, and ``usual_completion`` is the length of a usual completion,
        all in tokens.
        """
        size, usual = config.reward_group_size, min(usual_completion, config.reward_max_tokens)
        n_groups = config.reward_steps * min(config.reward_prompts, len(prompts))
        group_length = round(sum(prompts) / len(prompts)) + size * usual
        return cls(
            lengths=[group_length] * n_groups,
            supervised=n_groups * size * usual,
            prompt=max(prompts),
            completion=config.reward_max_tokens,
            size=size,
        )

    def largest(self, shape: StepShape, batch_size: int) -> Rows:  # noqa: ARG002
        """Return one row with the largest number of tokens that are computed at a time."""
        with_one_completion = self.prompt + self.completion
        with_all_completions = self.prompt + self.size * self.completion
        tokens = padded_length(max(with_one_completion, min(shape.max_tokens, with_all_completions)))
        return Rows(1, tokens, min(HEAD_ROWS, tokens))

    @property
    def largest_item(self) -> str:
        return f"a prompt of {self.prompt} tokens and completions of up to {self.completion}, {self.size} of them"

    def smaller(self) -> Iterator[tuple[str, Workload]]:
        for size in SMALLER_GROUPS:
            if size < self.size:
                yield f"a run with --train-reward-group-size {size}", replace(self, size=size)
        for length in SHORTER_LENGTHS:
            if length < self.completion:
                yield f"a run with --train-reward-max-tokens {length}", replace(self, completion=length, size=2)
        completion = min(self.completion, SHORTER_LENGTHS[-1])
        for length in SHORTER_LENGTHS:
            if length < self.prompt:
                yield (
                    f"a run with --train-max-length {length + completion} and --train-reward-max-tokens {completion}",
                    replace(self, prompt=length, completion=completion, size=2),
                )


@dataclass(frozen=True)
class Planner:
    """The planner of a training of one model with given settings."""

    network: nn.Module
    """The whole network, or only its first layers; see ``probe.measure``."""
    model_config: dict[str, Any]
    """The content of the model's ``config.json``."""
    config: TrainConfig
    """The settings of the training."""
    fixed_bytes: int
    """The bytes that weights and processes take, however the training is computed."""

    def plan(self, work: Workload, budget_bytes: int, *, skip_shapes: int = 0) -> TrainingPlan:
        """Return the plan for the quickest of ``loop.STEP_SHAPES`` that fits the budget, after skipping the first ``skip_shapes``.

        The last shape is never skipped. Raises BudgetError if none fits. Its hint names the smallest budget that works and the
        longest pair that fits this budget.
        """
        plans = []
        for shape in STEP_SHAPES[min(skip_shapes, len(STEP_SHAPES) - 1) :]:
            plan = self.with_shape(work, shape)
            if plan.peak_bytes <= budget_bytes:
                return self._with_cache(plan, budget_bytes)
            plans.append(plan)
        raise self._too_small(work, budget_bytes, min(plan.peak_bytes for plan in plans))

    def with_shape(self, work: Workload, shape: StepShape) -> TrainingPlan:
        """Return the plan for ``shape``, whether it fits the budget or not."""
        rows = work.largest(shape, self.config.batch_size)
        costs = measure(self.network, self.model_config, self.config, rows, shape)
        total = layer_count(self.model_config)
        adapted = total if self.config.layers < 0 else min(self.config.layers, total)
        # One micro-batch was measured. The layers' seconds grow with the tokens, and the head's with the supervised tokens.
        n_tokens = sum(map(padded_length, work.lengths))
        layers_s = costs.layers_s(adapted, total - adapted) * n_tokens / (rows.n * rows.length)
        head_s = costs.head_s() * work.supervised / (rows.n * rows.supervised)
        peak_bytes = costs.peak_bytes(adapted)
        # If a step has several micro-batches, the sum of their gradients is kept beside the gradient of the next micro-batch.
        if self.config.batch_size > rows.n:
            peak_bytes += costs.gradient_bytes(adapted)
        return TrainingPlan(shape, self.fixed_bytes + peak_bytes, 0, self.config.epochs * (layers_s + head_s))

    def _with_cache(self, plan: TrainingPlan, budget_bytes: int) -> TrainingPlan:
        """Return ``plan`` with what the budget leaves, up to ``MAX_CACHE_BYTES``, as MLX's cache of freed buffers."""
        cache = 0 if device_name() == "cpu" else min(MAX_CACHE_BYTES, budget_bytes - plan.peak_bytes)
        return replace(plan, peak_bytes=plan.peak_bytes + cache, cache_bytes=cache)

    def _too_small(self, work: Workload, budget_bytes: int, needed_bytes: int) -> BudgetError:
        """Return the BudgetError for a budget that is too small, with a hint of what would fit."""
        enough_gb = math.ceil(needed_bytes / 10**8) / 10
        hints = [f"--budget-training-gb {enough_gb:.1f}"]
        for hint, smaller_work in work.smaller():
            if self.with_shape(smaller_work, STEP_SHAPES[-1]).peak_bytes <= budget_bytes:
                hints.append(hint)
                break
        return BudgetError(
            f"training does not fit its budget: at least {needed_bytes / 1e9:.2f} GB are needed for {work.largest_item}, "
            f"but {budget_bytes / 1e9:.2f} GB are allowed",
            needed_bytes=needed_bytes,
            hint=", or ".join([*hints, "a smaller model"]),
        )


def processes_bytes() -> int:
    """Return the bytes that the process tree takes now, apart from MLX's buffers."""
    return max(0, tree_bytes() - mx.get_active_memory() - mx.get_cache_memory())
