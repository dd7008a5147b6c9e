"""Optimizer steps over examples: what is computed, in what order, and when its state is kept.

The step is the unit of everything: its pairs follow from the seed and its number, its state is what a checkpoint holds, and a
training that goes on from a checkpoint computes the same numbers as one that was not stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.training.attention import lean_attention
from mlx_selfdebug.training.batches import micro_batches, steps_of
from mlx_selfdebug.training.checkpoint import Checkpoint
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.gated_delta import chunked_gated_delta
from mlx_selfdebug.training.loss import loss_and_gradient
from mlx_selfdebug.training.recompute import recomputed

MAX_GRAD_NORM = 1.0
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.01
MOST_SKIPPED = 3
"""Steps in a row whose loss or gradient is not a number, before training stops."""


@dataclass(frozen=True)
class Step:
    """One optimizer step. ``loss`` is the weighted mean over its supervised tokens, in nats.

    ``skipped``: the loss or its gradient was not a number, and nothing was learned.
    """

    step: int
    loss: float
    n_tokens: int
    learning_rate: float
    grad_norm: float
    wall_s: float
    skipped: bool = False


@dataclass(frozen=True)
class Shape:
    """How much is computed at a time: padded tokens of a micro-batch, and whether layers recompute instead of remembering."""

    most_tokens: int = 640
    recompute: bool = False


SHAPES = (Shape(), Shape(recompute=True), Shape(256, recompute=True))
"""From the quickest to the one that takes the least memory: what a training that died goes on with."""

Advance = Callable[[int, str], None]


def optimizer_of(config: TrainConfig, n_steps: int) -> optim.Optimizer:
    """AdamW under linear warm-up over a tenth of the steps, then cosine to zero."""
    warmup = max(1, round(WARMUP_SHARE * n_steps))
    rising = optim.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup)
    falling = optim.cosine_decay(config.learning_rate, max(1, n_steps - warmup))
    return optim.AdamW(learning_rate=optim.join_schedules([rising, falling], [warmup]), weight_decay=WEIGHT_DECAY)


def count_steps(n_examples: int, config: TrainConfig) -> int:
    return -(-n_examples // config.batch_size) * config.epochs


def train_steps(
    network: nn.Module,
    examples: Sequence[Example],
    config: TrainConfig,
    seed: int,
    optimizer: optim.Optimizer,
    *,
    shape: Shape,
    start: Checkpoint | None,
    advance: Advance,
) -> Iterator[Step]:
    """Make the steps from ``start`` on; the network and the optimizer hold the state of a step when it is yielded.

    Between steps the network is as it was but for its weights: it may be used to decode.

    Raises TrainingError, with the pairs of the batch, if three steps in a row are not numbers.
    """
    if start:
        start.restore(network, optimizer)
    first = start.step if start else 0
    skipped = 0
    batches = steps_of(examples, config.batch_size, config.epochs, seed)
    for number, batch in enumerate(islice(batches, first, None), first):
        step = _step(network, optimizer, number, batch, shape)
        skipped = skipped + 1 if step.skipped else 0
        if skipped == MOST_SKIPPED:
            raise TrainingError(
                f"the loss is not a number at step {number} and the {MOST_SKIPPED - 1} before it; the batch: "
                + ", ".join(example.name for example in batch),
                hint="lower --train-learning-rate, or look at these pairs with: mlx-selfdebug runs pairs",
            )
        advance(len(batch), f"loss {step.loss:.3f}")
        yield step


@contextmanager
def _training(network: nn.Module, shape: Shape) -> Iterator[None]:
    """The network computes as it is best trained inside the block."""
    network.train()
    recomputing = recomputed(network.layers) if shape.recompute else nullcontext()
    with lean_attention(network), chunked_gated_delta(network), recomputing:
        yield
    network.eval()


def _step(network: nn.Module, optimizer: optim.Optimizer, number: int, batch: Sequence[Example], shape: Shape) -> Step:
    begin = time.monotonic()
    with _training(network, shape):
        loss, gradient = _accumulated(network, batch, shape.most_tokens)
    gradient, norm = optim.clip_grad_norm(gradient, MAX_GRAD_NORM)
    mx.eval(gradient, norm)
    sane = math.isfinite(loss) and math.isfinite(norm.item())
    if sane:
        optimizer.update(network, gradient)
        mx.eval(network.trainable_parameters(), optimizer.state)
    else:
        optimizer.state["step"] = optimizer.state["step"] + 1
    n_tokens = sum(example.n_supervised for example in batch)
    rate = float(optimizer.learning_rate.item())
    return Step(number, loss, n_tokens, rate, float(norm.item()), time.monotonic() - begin, not sane)


def _accumulated(network: nn.Module, batch: Sequence[Example], most_tokens: int) -> tuple[float, Any]:
    """Return the weighted mean of the supervised tokens' losses over the whole step and its gradient.

    Both are the same however the step is cut into micro-batches.
    """
    weight = sum(example.total_weight for example in batch)
    total, summed = 0.0, None
    for micro in micro_batches(batch, most_tokens):
        part = loss_and_gradient(network, micro)
        summed = part.gradient if summed is None else tree_map(mx.add, summed, part.gradient)
        mx.eval(summed)
        total += part.loss
    return total / weight, tree_map(lambda g: g / weight, summed)
