"""Compute the loss and its gradient while the head stays out of the gradient's graph.

The head, which maps hidden states to logits, holds a quarter of a small model's weights and takes a far larger share of a plain
loss's memory. With the head left out, a step needs only the memory of the trunk. The loss is the weighted cross-entropy of the
supervised tokens, in float32. It is computed as follows:

1. The trunk computes hidden states (rows, length, hidden). Those that predict a supervised token are taken: (n, hidden).
2. They go through the frozen head some rows at a time. This gives logits (rows, vocabulary), the loss of these rows, and the
   gradient of that loss with respect to their hidden states. To the outer gradient all of these are constants, so the logits of
   one chunk are freed before those of the next are computed.
3. The trunk's gradient is that of the sum of hidden states times the gradients from step 2. This is the chain rule with the head
   cut out.

This is valid because LoRA leaves the head as it is. A network whose trunk is not known (``models/trunk.py``) is computed whole.
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
"""The number of positions that go through the head at a time."""


@dataclass(frozen=True)
class LossAndGradient:
    """The loss of a micro-batch and its gradient."""

    loss: float
    """The weighted sum of the supervised tokens' losses, in nats."""
    gradient: Any
    """The gradient of ``loss`` for every trainable parameter, as a tree of arrays."""


def loss_and_gradient(network: nn.Module, batch: MicroBatch, *, head_rows: int = HEAD_ROWS) -> LossAndGradient:
    """Return the weighted sum of the supervised tokens' losses and its gradient, both evaluated.

    ``head_rows`` positions go through the head at a time.
    """
    parts = parts_of(network)

    def surrogate_and_loss(_: nn.Module) -> tuple[mx.array, mx.array]:
        if parts is None:
            loss = plain_loss(network, batch)
            return loss, loss
        hidden = _supervised(parts.trunk(mx.array(batch.ids)), batch)
        loss, slope = _through_head(parts.head, mx.stop_gradient(hidden), batch, head_rows)
        return mx.sum(hidden.astype(mx.float32) * mx.stop_gradient(slope)), loss

    # Nothing is evaluated before this point: whatever is evaluated while it is traced would be kept until the end.
    (_, loss), gradient = nn.value_and_grad(network, surrogate_and_loss)(network)
    mx.eval(loss, gradient)
    return LossAndGradient(float(np.array(loss)), gradient)


def plain_loss(network: nn.Module, batch: MicroBatch) -> mx.array:
    """Return the same loss from the logits of the whole network. The lean loss is tested against this one."""
    logits = _supervised(network(mx.array(batch.ids)), batch).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, mx.array(batch.targets), reduction="none")
    return mx.sum(losses * mx.array(batch.weights))


def _through_head(
    head: Callable[[mx.array], mx.array], hidden: mx.array, batch: MicroBatch, rows: int
) -> tuple[mx.array, mx.array]:
    """Return the summed loss and its gradient with respect to ``hidden``, (n, hidden) in float32, computed chunk by chunk."""
    targets, weights = mx.array(batch.targets), mx.array(batch.weights)
    losses: list[mx.array] = []
    slopes: list[mx.array] = []
    for start in range(0, hidden.shape[0], rows):
        # Without this dependency MLX would hold the logits of several chunks at once.
        part = mx.depends(hidden[start : start + rows], [*losses[-1:], *slopes[-1:]])
        loss, slope = _chunk(head, part, targets[start : start + rows], weights[start : start + rows])
        losses.append(loss)
        slopes.append(slope.astype(mx.float32))
    return mx.sum(mx.stack(losses)), mx.concatenate(slopes)


def _chunk(
    head: Callable[[mx.array], mx.array], hidden: mx.array, targets: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array]:
    """Return the weighted loss of some positions and its gradient with respect to ``hidden``.

    The gradient of cross-entropy with respect to the logits is the softmax, minus one at the target. It is written out here, so
    that each logit takes a single exponential.
    """
    logits = head(hidden).astype(mx.float32)
    highest = mx.max(logits, axis=-1, keepdims=True)
    exponentials = exp_here(logits - highest)
    total = mx.sum(exponentials, axis=-1, keepdims=True)
    target_logits = mx.take_along_axis(logits, targets[:, None], axis=-1)
    loss = mx.sum((mx.log(total) + highest - target_logits) * weights[:, None])
    slope = (exponentials * (weights[:, None] / total)).at[mx.arange(targets.size), targets].add(-weights)
    # mx.vjp describes a second pass through the head, but a linear head's gradient does not need its output, so MLX,
    # which is lazy, never computes it.
    _, (hidden_slope,) = mx.vjp(head, [hidden], [slope.astype(hidden.dtype)])
    return loss, hidden_slope


def _supervised(states: mx.array, batch: MicroBatch) -> mx.array:
    """Return the states at the positions that predict a supervised token: (rows, length, size) -> (n, size)."""
    return states.reshape(-1, states.shape[-1])[mx.array(batch.where)]
