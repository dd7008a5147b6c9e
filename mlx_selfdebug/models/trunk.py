"""A network as its trunk, which maps tokens to hidden states, and its head, which maps hidden states to logits.

Whoever needs the logits of a few positions alone calls the head for these: the head holds a quarter of a small model's weights.
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
    """``trunk`` maps ids (rows, length), and a cache if one is given, to hidden states (rows, length, size). ``head`` maps hidden
    states (..., size) to logits (..., vocabulary), and ``layer`` holds its weights.
    """

    trunk: Callable[..., mx.array]
    head: Callable[[mx.array], mx.array]
    layer: nn.Module

    def rows(self, ids: mx.array) -> mx.array:
        """Return the head's weights for the tokens ``ids``, dequantized: shape (*ids, size)."""
        layer: Any = self.layer
        if "scales" not in layer:
            rows: mx.array = layer.weight[ids]
            return rows
        biases = layer.biases[ids] if "biases" in layer and layer.biases is not None else None
        return mx.dequantize(
            layer.weight[ids], layer.scales[ids], biases, group_size=layer.group_size, bits=layer.bits, mode=layer.mode
        )


def parts_of(network: nn.Module) -> Parts | None:
    """Return trunk and head of ``network``, or None for a type of model whose parts we do not know."""
    language: Any = getattr(network, "language_model", network)
    if getattr(network, "model_type", "") not in PLAIN_HEADS:
        return None
    if language.args.tie_word_embeddings:
        embedding = language.model.embed_tokens
        return Parts(language.model, embedding.as_linear, embedding)
    return Parts(language.model, language.lm_head, language.lm_head)
