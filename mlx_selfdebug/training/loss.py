"""The loss and its gradient with the memory of the trunk alone: the head, a quarter of a small model's weights and far more of a
naive loss's memory, never enters the gradient's graph.

Weighted cross-entropy of the supervised tokens, in float32:

1. The trunk gives hidden states (rows, length, hidden); those that predict a supervised token are taken: (n, hidden).
2. Some rows at a time go through the frozen head: logits (rows, vocabulary), their loss, and the loss's gradient to the hidden
   rows. These are constants to the outer gradient, so each chunk's logits are let go before the next are computed.
3. The trunk's gradient is that of the sum of hidden states times these constants: the chain rule, with the head cut out.

Valid because LoRA leaves the head as it is. A network we know no trunk of goes through its logits as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np

from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.trunk import parts_of
from mlx_selfdebug.training.batches import MicroBatch

HEAD_ROWS = 64


@dataclass(frozen=True)
class LossAndGradient:
    """The weighted sum of the tokens' losses, in nats, and its gradient for every trainable parameter."""

    loss: float
    gradient: Any


def loss_and_gradient(network: nn.Module, batch: MicroBatch, *, head_rows: int = HEAD_ROWS) -> LossAndGradient:
    """Return the weighted sum of the supervised tokens' losses and its gradient, both evaluated.

    ``head_rows`` positions go through the head at a time.
    """
    parts = parts_of(network)

    def pulled(_: nn.Module) -> tuple[mx.array, mx.array]:
        if parts is None:
            loss = plain_loss(network, batch)
            return loss, loss
        hidden = _supervised(parts.trunk(mx.array(batch.ids)), batch)
        loss, slope = _through_head(parts.head, mx.stop_gradient(hidden), batch, head_rows)
        return mx.sum(hidden.astype(mx.float32) * mx.stop_gradient(slope)), loss

    # Evaluated once, at the end: what is evaluated while it is traced is kept, every step of it.
    (_, loss), gradient = nn.value_and_grad(network, pulled)(network)
    mx.eval(loss, gradient)
    return LossAndGradient(float(np.array(loss)), gradient)


def plain_loss(network: nn.Module, batch: MicroBatch) -> mx.array:
    """The same loss by the whole network's logits: what the lean one is tested against."""
    logits = _supervised(network(mx.array(batch.ids)), batch).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, mx.array(batch.targets), reduction="none")
    return mx.sum(losses * mx.array(batch.weights))


def _through_head(
    head: Callable[[mx.array], mx.array], hidden: mx.array, batch: MicroBatch, rows: int
) -> tuple[mx.array, mx.array]:
    """Summed loss, and its gradient (n, hidden) float32 to ``hidden``, chunk by chunk."""
    targets, weights = mx.array(batch.targets), mx.array(batch.weights)
    losses: list[mx.array] = []
    slopes: list[mx.array] = []
    for start in range(0, hidden.shape[0], rows):
        # Not before the chunk before it is done with: else the logits of several are there at once.
        part = mx.depends(hidden[start : start + rows], [*losses[-1:], *slopes[-1:]])
        loss, slope = _chunk(head, part, targets[start : start + rows], weights[start : start + rows])
        losses.append(loss)
        slopes.append(slope.astype(mx.float32))
    return mx.sum(mx.stack(losses)), mx.concatenate(slopes)


def _chunk(
    head: Callable[[mx.array], mx.array], hidden: mx.array, targets: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array]:
    """Return the weighted loss of some positions and its gradient to ``hidden``.

    Done by hand, with one exponential per logit: the gradient of cross-entropy to the logits is softmax minus one at the target.
    """
    logits = head(hidden).astype(mx.float32)
    most = mx.max(logits, axis=-1, keepdims=True)
    exponentials = exp_here(logits - most)
    total = mx.sum(exponentials, axis=-1, keepdims=True)
    wanted = mx.take_along_axis(logits, targets[:, None], axis=-1)
    loss = mx.sum((mx.log(total) + most - wanted) * weights[:, None])
    slope = (exponentials * (weights[:, None] / total)).at[mx.arange(targets.size), targets].add(-weights)
    # A linear head's gradient does not need its output: the second pass through it is never computed.
    _, (pulled,) = mx.vjp(head, [hidden], [slope.astype(hidden.dtype)])
    return loss, pulled


def _supervised(states: mx.array, batch: MicroBatch) -> mx.array:
    """(rows, length, size) -> (n, size)"""
    return states.reshape(-1, states.shape[-1])[mx.array(batch.where)]
