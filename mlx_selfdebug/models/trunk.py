"""Split a network into its trunk, which maps tokens to hidden states, and its head, which maps hidden states to logits.

A caller that needs the logits of only a few positions calls the head for these alone. This saves time, because the head holds a
quarter of a small model's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

PLAIN_HEADS = frozenset({"qwen2", "qwen3", "llama", "qwen3_5"})
"""Model types whose logits are the head applied to the trunk's output, with no scaling or capping in between."""


@dataclass(frozen=True)
class Parts:
    """The two parts of a network."""

    trunk: Callable[..., mx.array]
    """Maps ids of shape (rows, length), and optionally a cache, to hidden states of shape (rows, length, size)."""
    head: Callable[[mx.array], mx.array]
    """Maps hidden states of shape (..., size) to logits of shape (..., vocabulary)."""
    layer: nn.Module
    """The layer that holds the weights of the head."""

    def rows(self, ids: mx.array) -> mx.array:
        """Return the head's dequantized weights for the tokens ``ids``, of shape (*ids.shape, size)."""
        layer: Any = self.layer
        if "scales" not in layer:
            rows: mx.array = layer.weight[ids]
            return rows
        biases = layer.biases[ids] if "biases" in layer and layer.biases is not None else None
        return mx.dequantize(
            layer.weight[ids], layer.scales[ids], biases, group_size=layer.group_size, bits=layer.bits, mode=layer.mode
        )


def parts_of(network: nn.Module) -> Parts | None:
    """Return the trunk and the head of ``network``, or None if its model type is not in :data:`PLAIN_HEADS`."""
    if getattr(network, "model_type", "") not in PLAIN_HEADS:
        return None
    # Qwen3.5's network wraps that of its language model.
    language: Any = getattr(network, "language_model", network)
    if language.args.tie_word_embeddings:
        embedding = language.model.embed_tokens
        return Parts(language.model, embedding.as_linear, embedding)
    return Parts(language.model, language.lm_head, language.lm_head)
