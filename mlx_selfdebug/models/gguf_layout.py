"""List the tensors that GGUF files of the supported architectures hold, and the MLX parameter that each of them is.

The importer and the exporter (``exporting/gguf.py``) share this table.

In ``llama`` files the rows of the q and k projections are reordered, because llama.cpp applies the rotary embedding to
neighbouring pairs of rows, while Hugging Face and MLX pair row i with row i + half. :attr:`ExpectedTensor.heads` is the
number of heads whose rows are reordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ARCHITECTURES = ("llama", "qwen2")
"""The architectures that are supported, by their names in GGUF files."""


@dataclass(frozen=True)
class Sizes:
    """The architecture of a model and its sizes."""

    architecture: str
    """One of :data:`ARCHITECTURES`."""
    layers: int
    """The number of layers."""
    hidden: int
    """The size of a hidden state."""
    feed_forward: int
    """The size of the inner activations of a feed-forward layer."""
    heads: int
    """The number of attention heads."""
    kv_heads: int
    """The number of heads for keys and values, which is smaller if several attention heads share them."""
    head_dim: int
    """The size of an attention head."""
    vocabulary: int
    """The number of rows of the embedding, which may be more than the tokenizer has tokens."""


class ExpectedTensor(NamedTuple):
    """A tensor that a file of a supported architecture holds."""

    name: str
    """The name in the file."""
    path: str
    """The path of the MLX module."""
    shape: tuple[int, ...]
    """The shape, rows first."""
    heads: int = 0
    """The number of heads whose rows have to be put back in order; 0 if the rows stay as they are."""


def expected_tensors(sizes: Sizes, tied: bool) -> Iterator[ExpectedTensor]:
    """Yield the tensors of a model of these sizes. ``tied`` says whether its head has the weights of its embedding."""
    yield ExpectedTensor("token_embd.weight", "model.embed_tokens", (sizes.vocabulary, sizes.hidden))
    yield ExpectedTensor("output_norm.weight", "model.norm", (sizes.hidden,))
    if not tied:
        yield ExpectedTensor("output.weight", "lm_head", (sizes.vocabulary, sizes.hidden))
    for layer in range(sizes.layers):
        yield from _expected_in_layer(sizes, f"blk.{layer}.", f"model.layers.{layer}.")


def _expected_in_layer(sizes: Sizes, source: str, target: str) -> Iterator[ExpectedTensor]:
    """Yield the tensors of a layer whose names begin with ``source`` in the file and with ``target`` in MLX."""
    hidden, feed_forward = sizes.hidden, sizes.feed_forward
    yield ExpectedTensor(f"{source}attn_norm.weight", f"{target}input_layernorm", (hidden,))
    yield ExpectedTensor(f"{source}ffn_norm.weight", f"{target}post_attention_layernorm", (hidden,))
    yield ExpectedTensor(f"{source}ffn_gate.weight", f"{target}mlp.gate_proj", (feed_forward, hidden))
    yield ExpectedTensor(f"{source}ffn_up.weight", f"{target}mlp.up_proj", (feed_forward, hidden))
    yield ExpectedTensor(f"{source}ffn_down.weight", f"{target}mlp.down_proj", (hidden, feed_forward))
    yield ExpectedTensor(
        f"{source}attn_output.weight", f"{target}self_attn.o_proj", (hidden, sizes.heads * sizes.head_dim)
    )
    for letter, heads in (("q", sizes.heads), ("k", sizes.kv_heads), ("v", sizes.kv_heads)):
        path, rows = f"{target}self_attn.{letter}_proj", heads * sizes.head_dim
        reordered = heads if sizes.architecture == "llama" and letter in "qk" else 0
        yield ExpectedTensor(f"{source}attn_{letter}.weight", path, (rows, hidden), reordered)
        if sizes.architecture == "qwen2":
            yield ExpectedTensor(f"{source}attn_{letter}.bias", path, (rows,))
