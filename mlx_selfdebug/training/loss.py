"""Compute the loss and its gradient in little memory ("the lean loss"), by keeping the head out of the gradient's graph.

The head, which maps hidden states to logits, holds a quarter of a small model's weights, and a far larger share of the memory that
a plain loss takes. With the head left out, a step needs only the memory of the trunk. The loss is the weighted cross-entropy of
the supervised tokens, in float32. It is computed as follows:

1. The trunk computes hidden states (rows, length, hidden). Those that predict a supervised token are taken: (n, hidden).
2. They go through the frozen head some rows at a time. This gives logits (rows, vocabulary), the loss of these rows, and the
   gradient of that loss with respect to their hidden states. To the outer gradient all of these are constants, so the logits of
   one chunk are freed before the next chunk is computed.
3. The hidden states are multiplied with the gradients from step 2 and summed. The gradient of this sum is the gradient of the loss
   with respect to the trunk's parameters. This is the chain rule with the head cut out.

This is valid because LoRA leaves the head as it is. A network whose trunk is not known (``models/trunk.py``) is computed whole.

A share of a token's weight may go to imitating the base (self-distillation). The base is the network without its adapter. It is
read on the prompt of the task alone, followed by the same completion. The loss of that share is the divergence KL(base || network)
over the whole vocabulary. It has the gradient of a cross-entropy whose target is the base's distribution instead of one token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.trunk import parts_of
from mlx_selfdebug.training.adapter import without_adapter
from mlx_selfdebug.training.batches import MicroBatch

HEAD_ROWS = 64
"""The number of positions that go through the head at a time."""


@dataclass(frozen=True)
class LossAndGradient:
    """The loss of a micro-batch and its gradient."""

    loss: float
    """The weighted sum of the supervised tokens' losses, in nats."""
    gradient: Any
    """The gradient of ``loss`` with respect to the trainable parameters, as a tree of arrays that has their names."""


def loss_and_gradient(
    network: nn.Module, batch: MicroBatch, *, distilled_share: float = 0.0, head_rows: int = HEAD_ROWS
) -> LossAndGradient:
    """Return the weighted sum of the supervised tokens' losses and its gradient, both evaluated.

    Args:
        network: the network, of which only the adapter is trainable.
        batch: the rows.
        distilled_share: the share of each token's weight that goes to imitating the base, where the batch has rows for the base.
        head_rows: the number of positions that go through the head at a time.
    """
    parts = parts_of(network)
    base = _base_states(network, batch) if distilled_share else None

    def surrogate_and_loss(_: nn.Module) -> tuple[mx.array, mx.array]:
        """Return the loss, after another number that has the same gradient but whose graph leaves the head out (step 3)."""
        if parts is None:
            loss = plain_loss(network, batch, distilled_share=distilled_share, base_logits=base)
            return loss, loss
        hidden = states_at(parts.trunk(mx.array(batch.ids)), batch.positions)
        targets = Targets.of(batch, base, distilled_share)
        loss, slope = through_head(parts.head, mx.stop_gradient(hidden), targets, head_rows)
        return mx.sum(hidden.astype(mx.float32) * mx.stop_gradient(slope)), loss

    # Nothing is evaluated while the loss is traced: MLX would keep it until the end.
    (_, loss), gradient = nn.value_and_grad(network, surrogate_and_loss)(network)
    mx.eval(loss, gradient)
    return LossAndGradient(float(np.array(loss)), gradient)


def plain_loss(
    network: nn.Module, batch: MicroBatch, *, distilled_share: float = 0.0, base_logits: mx.array | None = None
) -> mx.array:
    """Return the loss of ``loss_and_gradient``, but computed in the plain way, from the logits of the whole network.

    It is used for networks whose trunk is not known, and in tests of the lean loss. ``base_logits`` are the logits of the base, of
    shape (supervised, vocabulary).
    """
    logits = states_at(network(mx.array(batch.ids)), batch.positions).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, mx.array(batch.targets), reduction="none")
    if base_logits is not None and batch.base is not None:
        share = distilled_share * mx.array(batch.base.imitated)
        divergence = nn.losses.kl_div_loss(_log_softmax(logits), _log_softmax(base_logits.astype(mx.float32)), axis=-1)
        losses = (1 - share) * losses + share * divergence
    return mx.sum(losses * mx.array(batch.weights))


def _log_softmax(logits: mx.array) -> mx.array:
    """Return the log-probabilities of each row of ``logits``."""
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _base_states(network: nn.Module, batch: MicroBatch) -> mx.array | None:
    """Return the base's hidden states where it is imitated, (supervised, hidden), evaluated; None if the batch has no rows for it.

    If the network's trunk is not known, return the base's logits instead, (supervised, vocabulary).
    """
    if batch.base is None:
        return None
    with without_adapter(network):
        parts = parts_of(network)
        compute = network if parts is None else parts.trunk
        states = states_at(compute(mx.array(batch.base.ids)), batch.base.positions)
        mx.eval(states)
    return states


@dataclass(frozen=True)
class Targets:
    """The tokens that some positions are to predict, and the weights of the parts of their loss."""

    ids: mx.array
    """The target tokens, (n,)."""
    weights: mx.array
    """The weight of each target's cross-entropy, (n,). It may be negative."""
    base_weights: mx.array | None = None
    """The weight of each position's divergence from the base, (n,); None if the base is not imitated."""
    base: mx.array | None = None
    """The base's hidden states, (n, hidden); None if the base is not imitated."""

    @classmethod
    def of(cls, batch: MicroBatch, base: mx.array | None, distilled_share: float) -> Targets:
        """Return the targets of ``batch``, with ``distilled_share`` of each weight moved to the divergence from ``base``."""
        ids, weights = mx.array(batch.targets), mx.array(batch.weights)
        if base is None or batch.base is None:
            return cls(ids, weights)
        moved = weights * distilled_share * mx.array(batch.base.imitated)
        return cls(ids, weights - moved, moved, base)

    def part(self, chunk: slice, earlier: list[mx.array]) -> Targets:
        """Return the targets of the positions in ``chunk``. The base's logits there are computed after the ``earlier`` arrays."""
        if self.base is None or self.base_weights is None:
            return Targets(self.ids[chunk], self.weights[chunk])
        base = mx.depends(self.base[chunk], earlier)
        return Targets(self.ids[chunk], self.weights[chunk], self.base_weights[chunk], base)


def through_head(
    head: Callable[[mx.array], mx.array], hidden: mx.array, targets: Targets, rows: int
) -> tuple[mx.array, mx.array]:
    """Return the summed loss and its gradient with respect to ``hidden``, (n, hidden) in float32.

    ``rows`` positions at a time go through the head.
    """
    losses: list[mx.array] = []
    slopes: list[mx.array] = []
    for start in range(0, hidden.shape[0], rows):
        # Without this dependency MLX would hold the logits of several chunks at once.
        chunk, earlier = slice(start, start + rows), [*losses[-1:], *slopes[-1:]]
        part = mx.depends(hidden[chunk], earlier)
        loss, slope = _chunk_loss(head, part, targets.part(chunk, earlier))
        losses.append(loss)
        slopes.append(slope.astype(mx.float32))
    return mx.sum(mx.stack(losses)), mx.concatenate(slopes)


def _chunk_loss(head: Callable[[mx.array], mx.array], hidden: mx.array, targets: Targets) -> tuple[mx.array, mx.array]:
    """Return the weighted loss of some positions, and its gradient with respect to ``hidden``.

    With respect to the logits, the gradient of the cross-entropy is the softmax, minus 1 at the target. That of the divergence from
    the base is the softmax, minus the base's softmax. Both are written out here, so that each logit takes a single exponential.
    """
    logits = head(hidden).astype(mx.float32)
    highest = mx.max(logits, axis=-1, keepdims=True)
    exponentials = exp_here(logits - highest)
    total = mx.sum(exponentials, axis=-1, keepdims=True)
    log_total = mx.log(total) + highest
    target_logits = mx.take_along_axis(logits, targets.ids[:, None], axis=-1)
    losses = (log_total - target_logits) * targets.weights[:, None]
    if targets.base is None or targets.base_weights is None:
        slope = exponentials * (targets.weights[:, None] / total)
    else:
        base_weights = targets.base_weights[:, None]
        base_log_p = _log_softmax(head(targets.base).astype(mx.float32))
        base_p = exp_here(base_log_p)
        losses = losses + base_weights * (mx.sum(base_p * (base_log_p - logits), axis=-1, keepdims=True) + log_total)
        both_weights = targets.weights + targets.base_weights
        slope = exponentials * (both_weights[:, None] / total) - base_p * base_weights
    slope = slope.at[mx.arange(targets.ids.size), targets.ids].add(-targets.weights)
    # mx.vjp describes a second pass through the head. MLX is lazy and never computes it, because the gradient of a linear head
    # does not need the head's output.
    _, (hidden_slope,) = mx.vjp(head, [hidden], [slope.astype(hidden.dtype)])
    return mx.sum(losses), hidden_slope


def states_at(states: mx.array, positions: npt.NDArray[np.int32]) -> mx.array:
    """Return the states at flat positions: (rows, length, size) -> (n, size)."""
    return states.reshape(-1, states.shape[-1])[mx.array(positions)]
