"""Train: LoRA on a run's pairs, the completion's tokens alone, in a seeded order, the loss recorded step by step.

First form: a training that was cut short starts anew (it is seeded, so it gives the same adapter), and it runs in this process.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map
from mlx_lm.tuner.utils import remove_lora_layers

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress, Stage
from mlx_selfdebug.stage import measured
from mlx_selfdebug.store import Run
from mlx_selfdebug.training.adapter import Adapter, insert_lora, open_adapter, save_adapter
from mlx_selfdebug.training.examples import encode_pairs
from mlx_selfdebug.training.loss import Example, loss_sum

MAX_GRAD_NORM = 1.0
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01


def train(run: Run, model: Model, *, progress: Progress | None = None) -> Adapter:
    """LoRA-train ``model`` on the run's pairs and save the adapter; ``model`` is the base again afterwards.

    A finished adapter is returned as it is. Raises TrainingError if there are no pairs, or none short enough, or the loss is
    not a number.
    """
    run.require("model", model.origin, "model")
    if run.stages().get("train", {}).get("done"):
        return open_adapter(run.adapter_path)
    pairs = run.pairs()
    if not pairs:
        raise TrainingError(
            f"{run.path} has no pairs to train on: no task was both failed and solved",
            hint="collect more: raise --collect-samples or take other tasks with --collect-tasks",
        )
    with measured(run, "train"):
        config = run.config.train
        examples, left_out = encode_pairs(model, pairs, config.max_length)
        run.remember("train.left_out", len(left_out))
        if not examples:
            raise TrainingError(f"all {len(pairs)} pairs are longer than train.max_length = {config.max_length} tokens")
        run.clear_steps()
        total = len(examples) * config.epochs
        try:
            settings = insert_lora(model.network, config, run.config.seed)
            with (progress or NullProgress()).stage("train", total, "pair") as stage:
                for step in _steps(model.network, examples, config, run.config.seed, stage):
                    run.add_step(**vars(step))
            return save_adapter(model.network, run.adapter_path, settings, model.origin)
        finally:
            remove_lora_layers(model.network)
            model.network.eval()


@dataclass(frozen=True)
class _Step:
    """One optimizer step: mean loss a supervised token, in nats."""

    step: int
    loss: float
    n_tokens: int
    learning_rate: float
    grad_norm: float
    wall_s: float


def _steps(
    network: nn.Module, examples: Sequence[Example], config: TrainConfig, seed: int, stage: Stage
) -> Iterator[_Step]:
    batches = list(_batches(examples, config, seed))
    optimizer = optim.AdamW(learning_rate=_schedule(config.learning_rate, len(batches)), weight_decay=WEIGHT_DECAY)
    gradient_of = nn.value_and_grad(network, loss_sum)
    network.train()
    for number, batch in enumerate(batches):
        start = time.monotonic()
        loss, gradients = _accumulate(network, gradient_of, batch, stage)
        gradients, norm = optim.clip_grad_norm(gradients, MAX_GRAD_NORM)
        optimizer.update(network, gradients)
        rate = float(optimizer.learning_rate.item())
        mx.eval(network.trainable_parameters(), optimizer.state, norm)
        if not math.isfinite(loss) or not math.isfinite(norm.item()):
            raise TrainingError(f"the loss is not a number at step {number}", hint="lower --train-learning-rate")
        n_tokens = sum(example.n_supervised for example in batch)
        yield _Step(number, loss, n_tokens, rate, float(norm.item()), time.monotonic() - start)


def _accumulate(network: nn.Module, gradient_of: Any, batch: Sequence[Example], stage: Stage) -> tuple[float, Any]:
    """Mean loss and gradient a supervised token, pair by pair: no padding, and long pairs weigh by their tokens."""
    total, summed = 0.0, None
    n_tokens = sum(example.n_supervised for example in batch)
    for example in batch:
        loss, gradients = gradient_of(network, example)
        summed = gradients if summed is None else tree_map(mx.add, summed, gradients)
        mx.eval(loss, summed)
        total += loss.item()
        stage.advance(1, f"loss {loss.item() / example.n_supervised:.3f}")
    return total / n_tokens, tree_map(lambda g: g / n_tokens, summed)


def _batches(examples: Sequence[Example], config: TrainConfig, seed: int) -> Iterator[list[Example]]:
    """Every example once an epoch, in an order of its own; the last batch of an epoch may be smaller."""
    for epoch in range(config.epochs):
        order = list(examples)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for start in range(0, len(order), config.batch_size):
            yield order[start : start + config.batch_size]


def _schedule(peak: float, n_steps: int) -> Any:
    """Linear warm-up over a tenth of the steps, then cosine to zero."""
    warmup = max(1, round(WARMUP_SHARE * n_steps))
    rising = optim.linear_schedule(peak / warmup, peak, warmup)
    return optim.join_schedules([rising, optim.cosine_decay(peak, max(1, n_steps - warmup))], [warmup])
