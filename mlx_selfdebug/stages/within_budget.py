"""Do what training on pairs and training by rewards have in common: plan within the budget, insert the adapter, decode repairs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.config import Config, TrainConfig
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.stages.common import decoding_of
from mlx_selfdebug.store import Family, Run
from mlx_selfdebug.training.adapter import AdapterSettings, insert_adapter, remove_adapter
from mlx_selfdebug.training.plan import Planner, TrainingPlan, Workload, processes_bytes

logger = logging.getLogger(__name__)


@contextmanager
def planned(
    run: Run, model: Model, work: Workload, config: TrainConfig, skip_shapes: int, name: str = ""
) -> Iterator[TrainingPlan]:
    """Yield the plan of a training of ``work``, and hold MLX to the plan's memory limits inside the block.

    The first ``skip_shapes`` of ``loop.STEP_SHAPES`` are left out. The plan is recorded with the run, under ``name`` followed by
    ``skip_shapes``. Raises BudgetError if no plan fits ``budget.training_gb``.
    """
    budget, processes = int(run.config.budget.training_gb * 1e9), processes_bytes()
    planner = Planner(model.network, model.config, config, processes + mx.get_active_memory())
    plan = planner.plan(work, budget, skip_shapes=skip_shapes)
    run.remember(Family.PLAN.key(f"{name}{skip_shapes}"), asdict(plan))
    logger.info("%s", plan)
    earlier_cache_limit = mx.set_cache_limit(plan.cache_bytes)
    earlier_memory_limit = mx.set_memory_limit(budget - processes)
    try:
        yield plan
    finally:
        mx.set_cache_limit(earlier_cache_limit)
        mx.set_memory_limit(earlier_memory_limit)


@contextmanager
def with_adapter(model: Model, config: TrainConfig, seed: int) -> Iterator[AdapterSettings]:
    """Put a fresh adapter into ``model`` inside the block, and yield the settings that describe the adapter."""
    try:
        yield insert_adapter(model.network, config, seed)
    finally:
        remove_adapter(model.network)
        model.network.eval()


def greedy_decoding(config: Config) -> Decoding:
    """Return how repairs of held-back tasks are decoded: greedily, and within the memory budget of training."""
    budget_bytes = int(config.budget.training_gb * 1e9)
    return replace(decoding_of(config.collect, config), temperature=0.0, budget_bytes=budget_bytes)
