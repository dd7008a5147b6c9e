"""The loss and its gradient with the memory of the trunk alone: the head, a quarter of a small model's weights and far more of a
naive loss's memory, never enters the gradient's graph.

Cross-entropy of the supervised tokens, in float32:

1. The trunk gives hidden states (rows, length, hidden); those that predict a supervised token are taken: (n, hidden).
2. Some rows at a time go through the frozen head: logits (rows, vocabulary), their loss, and the loss's gradient to the hidden
   rows. Each chunk is computed and let go before the next. These are constants to the outer gradient.
3. The trunk's gradient is that of the sum of hidden states times these constants: the chain rule, with the head cut out.

Valid because LoRA leaves the head as it is. A network we know no trunk of goes through its logits as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np

from mlx_selfdebug.training.batches import MicroBatch

HEAD_ROWS = 64
PLAIN_HEADS = frozenset({"qwen2", "qwen3", "llama", "qwen3_5"})
"""Model types whose logits are the head applied to the trunk's output, with no scaling or capping in between."""

Forward = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class LossAndGradient:
    """Summed loss in nats, and the gradient of that sum for every trainable parameter."""

    loss: float
    gradient: Any


def loss_and_gradient(network: nn.Module, batch: MicroBatch, *, head_rows: int = HEAD_ROWS) -> LossAndGradient:
    """Of the supervised tokens of ``batch``, evaluated. ``head_rows`` positions go through the head at a time."""
    parts = trunk_and_head(network)
    total = 0.0

    def pulled(_: nn.Module) -> mx.array:
        nonlocal total
        hidden = _supervised(parts[0](mx.array(batch.ids)), batch) if parts else None
        if parts is None or hidden is None:
            logits = _supervised(network(mx.array(batch.ids)), batch)
            return _cross_entropy(logits, mx.array(batch.targets))
        total, slope = _through_head(parts[1], _constant(hidden), batch, head_rows)
        return mx.sum(hidden.astype(mx.float32) * slope)

    value, gradient = nn.value_and_grad(network, pulled)(network)
    mx.eval(value, gradient)
    return LossAndGradient(total if parts else float(value.item()), gradient)


def plain_loss(network: nn.Module, batch: MicroBatch) -> mx.array:
    """The same loss by the whole network's logits: what the lean one is tested against."""
    return _cross_entropy(_supervised(network(mx.array(batch.ids)), batch), mx.array(batch.targets))


def trunk_and_head(network: nn.Module) -> tuple[Forward, Forward] | None:
    """ids (rows, length) -> hidden (rows, length, size), and hidden -> logits; None where we do not know them."""
    language: Any = getattr(network, "language_model", network)
    if getattr(network, "model_type", "") not in PLAIN_HEADS:
        return None
    tied = language.args.tie_word_embeddings
    return language.model, language.model.embed_tokens.as_linear if tied else language.lm_head


def _through_head(head: Forward, hidden: mx.array, batch: MicroBatch, rows: int) -> tuple[float, mx.array]:
    """Summed loss, and its gradient (n, hidden) float32 to ``hidden``, chunk by chunk."""
    targets = mx.array(batch.targets)
    loss_of = mx.value_and_grad(lambda part, wanted: _cross_entropy(head(part), wanted))
    total, slopes = 0.0, []
    for start in range(0, hidden.shape[0], rows):
        loss, slope = loss_of(hidden[start : start + rows], targets[start : start + rows])
        slope = slope.astype(mx.float32)
        mx.eval(loss, slope)
        total += float(np.array(loss))
        slopes.append(slope)
    return total, mx.concatenate(slopes)


def _supervised(states: mx.array, batch: MicroBatch) -> mx.array:
    """(rows, length, size) -> (n, size)"""
    return states.reshape(-1, states.shape[-1])[mx.array(batch.where)]


def _constant(hidden: mx.array) -> mx.array:
    """The same numbers, without the graph they came from. Through float32, which holds every float16 and bfloat16."""
    mx.eval(hidden)
    return mx.array(np.array(hidden.astype(mx.float32))).astype(hidden.dtype)


def _cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    loss: mx.array = nn.losses.cross_entropy(logits.astype(mx.float32), targets, reduction="sum")
    return loss
