"""The loss of one pair: cross-entropy of the completion's tokens, nothing else.

Only the supervised positions go through the head, which holds a quarter of a small model's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

PLAIN_HEADS = frozenset({"qwen2", "qwen3", "llama"})
"""Model types whose logits are the head applied to ``model.model(ids)``, with no scaling or capping in between."""


@dataclass(frozen=True)
class Example:
    """Token ids of prompt + completion + end of turn; the completion starts at ``start`` (>= 1)."""

    ids: tuple[int, ...]
    start: int

    @property
    def n_supervised(self) -> int:
        return len(self.ids) - self.start


def loss_sum(network: nn.Module, example: Example) -> mx.array:
    """Summed cross-entropy (nats, float32, scalar) of the supervised tokens."""
    ids = mx.array(example.ids)
    logits = _supervised_logits(network, ids[None, :-1], example.start - 1)
    loss: mx.array = nn.losses.cross_entropy(logits.astype(mx.float32), ids[example.start :], reduction="sum")
    return loss


def _supervised_logits(network: nn.Module, inputs: mx.array, first: int) -> mx.array:
    """inputs [1, T] -> logits [T - first, V] of the positions from ``first`` on."""
    logits: mx.array
    if network.args.model_type in PLAIN_HEADS:
        logits = _head(network)(network.model(inputs)[0, first:])
    else:
        logits = network(inputs)[0, first:]
    return logits


def _head(network: Any) -> Callable[[mx.array], mx.array]:
    head: Callable[[mx.array], mx.array]
    head = network.model.embed_tokens.as_linear if network.args.tie_word_embeddings else network.lm_head
    return head
