"""How a training is computed within its memory budget: the quickest of ``loop.SHAPES`` that fits, or what would.

>>> planner = Planner(model.network, model.config, config, fixed_bytes=2 * 10**9)  # doctest: +SKIP
>>> plan = planner.plan(Workload.of(examples), budget_bytes=10 * 10**9)  # doctest: +SKIP
>>> plan.shape, plan.peak_bytes, plan.wall_s  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.memory import tree_bytes
from mlx_selfdebug.training.batches import padded_length
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import SHAPES, Shape
from mlx_selfdebug.training.loss import HEAD_ROWS
from mlx_selfdebug.training.probe import Rows, layer_count, measure

MOST_CACHE_BYTES = 10**9
"""Freed buffers MLX may keep. On the CPU none: they gain nothing there."""
SHORTER = (768, 512, 384, 256, 192, 128, 64)
"""Lengths of the longest pair that are tried when a budget is too small."""


@dataclass(frozen=True)
class TrainingPlan:
    """``peak_bytes`` of the process tree, and about how long the steps take together."""

    shape: Shape
    peak_bytes: int
    cache_bytes: int
    wall_s: float


@dataclass(frozen=True)
class Workload:
    """What is to be trained on: tokens computed of each row, and supervised tokens of all."""

    lengths: Sequence[int]
    supervised: int

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Workload:
        return cls([len(e.ids) - 1 for e in examples], sum(e.n_supervised for e in examples))

    def largest(self, shape: Shape, batch_size: int) -> Rows:
        """The most that a micro-batch may hold: the longest row, and as many as fit beside it."""
        longest = padded_length(max(self.lengths))
        n = max(1, min(len(self.lengths), batch_size, shape.most_tokens // longest))
        return Rows(n, longest, min(HEAD_ROWS, longest))


@dataclass(frozen=True)
class Planner:
    """Plans of one model and its settings. ``fixed_bytes`` are what weights and processes take.

    ``network`` is the model, or its first layers: see :func:`probe.measure`.
    """

    network: nn.Module
    model_config: dict[str, Any]
    config: TrainConfig
    fixed_bytes: int

    def plan(self, work: Workload, budget_bytes: int, *, smaller: int = 0) -> TrainingPlan:
        """With the first of ``loop.SHAPES`` after ``smaller`` that fits the budget.

        Raises BudgetError, with the smallest budget that works and the longest pair that fits this one, if none does.
        """
        plans = []
        for shape in SHAPES[min(smaller, len(SHAPES) - 1) :]:
            plans.append(self.with_shape(work, shape))
            if plans[-1].peak_bytes <= budget_bytes:
                return self._with_cache(plans[-1], budget_bytes)
        raise self._too_small(work, budget_bytes, min(plan.peak_bytes for plan in plans))

    def with_shape(self, work: Workload, shape: Shape) -> TrainingPlan:
        rows = work.largest(shape, self.config.batch_size)
        costs = measure(self.network, self.model_config, self.config, rows, shape)
        total = layer_count(self.model_config)
        adapted = total if self.config.layers < 0 else min(self.config.layers, total)
        # A probe's rows stand for all: seconds grow with the tokens of the layers and the supervised tokens of the head.
        layers = (
            costs.layers_s(adapted, total - adapted) * sum(map(padded_length, work.lengths)) / (rows.n * rows.length)
        )
        head = costs.head_s() * work.supervised / (rows.n * rows.supervised)
        # Where a step has several micro-batches, their gradients are summed beside the next one's.
        peak = costs.peak_bytes(adapted) + (costs.gradient_bytes(adapted) if self.config.batch_size > rows.n else 0)
        return TrainingPlan(shape, self.fixed_bytes + peak, 0, self.config.epochs * (layers + head))

    def _with_cache(self, plan: TrainingPlan, budget_bytes: int) -> TrainingPlan:
        cache = 0 if device_name() == "cpu" else min(MOST_CACHE_BYTES, budget_bytes - plan.peak_bytes)
        return replace(plan, peak_bytes=plan.peak_bytes + cache, cache_bytes=cache)

    def _too_small(self, work: Workload, budget_bytes: int, least: int) -> BudgetError:
        longest = max(work.lengths) + 1
        hints = [f"--budget-training-gb {-(-least // 10**8) / 10:.1f}"]
        for length in (length for length in SHORTER if length < longest):
            shorter = replace(work, lengths=[min(length - 1, n) for n in work.lengths])
            if self.with_shape(shorter, SHAPES[-1]).peak_bytes <= budget_bytes:
                hints.append(f"a run with --train-max-length {length}")
                break
        return BudgetError(
            f"training does not fit its budget: {least / 1e9:.2f} GB are needed at least for pairs of up to {longest} tokens, "
            f"{budget_bytes / 1e9:.2f} GB are allowed",
            needed_bytes=least,
            hint=", or ".join([*hints, "a smaller model"]),
        )


def processes_bytes() -> int:
    """What the process tree takes now beside MLX's buffers."""
    return max(0, tree_bytes() - mx.get_active_memory() - mx.get_cache_memory())
