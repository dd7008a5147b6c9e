"""Make the optimizer steps of training on pairs.

A step's examples follow from the seed and the step's number, and a checkpoint holds the state between two steps. So a training that
continues from a checkpoint computes the same numbers as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

# The backend loads a fast BLAS, so it has to come before MLX itself.
from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.distributed import ALONE, Group
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.training.batches import micro_batches, steps_of
from mlx_selfdebug.training.checkpoint import Checkpoint
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.forms import training_forms
from mlx_selfdebug.training.loss import loss_and_gradient
from mlx_selfdebug.training.ranks import own_share, summed
from mlx_selfdebug.values.step import Step

MAX_GRAD_NORM = 1.0
"""The norm to which a longer gradient is clipped."""
WARMUP_SHARE = 0.1
"""The share of the steps in which the learning rate rises."""
WEIGHT_DECAY = 0.01
"""The weight decay of AdamW."""
MAX_SKIPPED = 3
"""Training stops after this many steps in a row whose loss or gradient is not finite."""


@dataclass(frozen=True)
class StepShape:
    """How much of a step is computed and kept in memory at a time."""

    max_tokens: int = 640
    """The largest number of tokens in a micro-batch, including padding."""
    recompute: bool = False
    """Whether layers keep only their input for the backward pass and compute the rest again."""


STEP_SHAPES = (StepShape(), StepShape(recompute=True), StepShape(256, recompute=True))
"""The shapes to choose from, from the quickest to the one that takes the least memory.

A training whose process died continues with a later one.
"""

Advance = Callable[[int, str], None]
"""Reports progress: how many more pairs are finished, and a note to show. In training by rewards, steps are counted instead."""


def optimizer_of(config: TrainConfig, n_steps: int) -> optim.Optimizer:
    """Return AdamW with linear warm-up over a tenth of the steps, followed by cosine decay to zero."""
    warmup = max(1, round(WARMUP_SHARE * n_steps))
    rising = optim.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup)
    falling = optim.cosine_decay(config.learning_rate, max(1, n_steps - warmup))
    return optim.AdamW(learning_rate=optim.join_schedules([rising, falling], [warmup]), weight_decay=WEIGHT_DECAY)


def count_steps(n_examples: int, config: TrainConfig) -> int:
    """Return the number of optimizer steps of all epochs. The last step of an epoch may be smaller than the others."""
    return -(-n_examples // config.batch_size) * config.epochs


def train_steps(
    network: nn.Module,
    examples: Sequence[Example],
    config: TrainConfig,
    seed: int,
    optimizer: optim.Optimizer,
    *,
    shape: StepShape,
    start: Checkpoint | None,
    advance: Advance,
    group: Group = ALONE,
) -> Iterator[Step]:
    """Make the steps that follow ``start`` and yield a record of each.

    When a step is yielded, network and optimizer are in the state after that step. The network is then in evaluation mode and has
    its usual layers, so it may be used to decode.

    Args:
        network: the network, with the adapter that is trained.
        examples: the examples of one epoch.
        config: the settings of training.
        seed: decides the order of the examples.
        optimizer: the optimizer, as ``optimizer_of`` returns it.
        shape: how much of a step is computed and kept in memory at a time.
        start: the checkpoint from which to continue, or None to begin with the first step.
        advance: told of the examples of each step.
        group: the ranks that divide the examples of each step among themselves.

    Raises TrainingError, which names the pairs of the batch, if the loss or gradient is not finite ``MAX_SKIPPED`` steps in a row.
    """
    if start:
        start.restore(network, optimizer)
    first = start.step if start else 0
    n_skipped = 0
    batches = steps_of(examples, config.batch_size, config.epochs, seed)
    for number, batch in enumerate(islice(batches, first, None), first):
        step = _step(network, optimizer, number, batch, shape, config.distilled_share, group)
        n_skipped = n_skipped + 1 if step.skipped else 0
        if n_skipped == MAX_SKIPPED:
            raise TrainingError(
                f"the loss or its gradient is not finite at step {number} and at the {MAX_SKIPPED - 1} steps before it; "
                "the pairs of the batch: " + ", ".join(example.name for example in batch),
                hint="train with a lower --train-learning-rate in a branch of the run (mlx-selfdebug runs branch), or look at "
                "these pairs with: mlx-selfdebug runs pairs",
            )
        advance(len(batch), f"loss {step.loss:.3f}")
        yield step


def _step(
    network: nn.Module,
    optimizer: optim.Optimizer,
    number: int,
    batch: Sequence[Example],
    shape: StepShape,
    distilled_share: float,
    group: Group,
) -> Step:
    """Make one step from the examples of ``batch``. If its loss or gradient is not finite, the weights stay as they are."""
    begin = time.monotonic()
    with training_forms(network, recompute=shape.recompute):
        loss, gradient = _accumulated(network, batch, shape.max_tokens, distilled_share, group)
    gradient, norm = optim.clip_grad_norm(gradient, MAX_GRAD_NORM)
    mx.eval(gradient, norm)
    if math.isfinite(loss) and math.isfinite(norm.item()):
        optimizer.update(network, gradient)
        mx.eval(network.trainable_parameters(), optimizer.state)
    else:
        # The learning rate follows from the optimizer's step, which therefore counts skipped steps too.
        optimizer.state["step"] = optimizer.state["step"] + 1
    n_tokens = sum(example.n_supervised for example in batch)
    rate = float(optimizer.learning_rate.item())
    return Step(number, loss, n_tokens, rate, float(norm.item()), time.monotonic() - begin)


def _accumulated(
    network: nn.Module, batch: Sequence[Example], max_tokens: int, distilled_share: float, group: Group
) -> tuple[float, Any]:
    """Return the weighted mean of the supervised tokens' losses over the whole step, and its gradient.

    Both are the same however the step is divided among the ranks and cut into micro-batches.
    """
    weight = sum(example.total_weight for example in batch)
    loss, gradient = 0.0, None
    for micro_batch in micro_batches(own_share(group, batch, [len(example.ids) for example in batch]), max_tokens):
        part = loss_and_gradient(network, micro_batch, distilled_share=distilled_share)
        gradient = part.gradient if gradient is None else tree_map(mx.add, gradient, part.gradient)
        mx.eval(gradient)
        loss += part.loss
    loss, gradient = summed(group, network, loss, gradient)
    return loss / weight, tree_map(lambda array: array / weight, gradient)
