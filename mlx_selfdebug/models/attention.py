"""Compute causal attention in blocks of queries, which is faster on the CPU and needs less memory everywhere.

A block of queries sees only the keys up to its end, so about half of the scores are never computed. All heads that share keys go
through one matrix product. The exponential comes from ``activations.py``, because on x86 MLX's own exponential takes most of the
time of a prefill's attention.

    with quick_attention(network):
        network(ids, cache=caches)

``training/attention.py`` builds on the same blocks for attention that can be differentiated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.binding import bound

NAME = "scaled_dot_product_attention"
"""The function that mlx-lm's models call. Each model's module has imported it under this name."""
BLOCK = 64
"""The number of queries that are computed at a time in a prefill."""
MIN_QUERIES = 8
"""The smallest number of queries for which computing in blocks is worthwhile."""

Attention = Callable[..., mx.array]
"""An attention function with the parameters of mlx-lm's ``scaled_dot_product_attention``."""


@contextmanager
def quick_attention(network: nn.Module) -> Iterator[None]:
    """Compute the causal attention of the network's prefills in blocks of queries until the ``with`` block ends.

    Only on the CPU is this faster, so nothing changes on other devices. The attention of single tokens, and attention with another
    mask, stays as it is too. The attention cannot be differentiated.
    """
    if device_name() != "cpu":
        yield
        return
    with replaced_attention(network, _quick):
        yield


@contextmanager
def replaced_attention(network: nn.Module, replacement: Attention) -> Iterator[None]:
    """Have the network call ``replacement`` instead of its attention function until the ``with`` block ends.

    ``replacement`` gets the original function as its first argument, followed by the arguments of the call.
    """
    module_names = {type(layer).__module__ for _, layer in network.named_modules()}
    with ExitStack() as stack:
        for name in sorted(module_names):
            original = getattr(sys.modules.get(name), NAME, None)
            if original is not None:
                stack.enter_context(bound(sys.modules[name], NAME, partial(replacement, original)))
        yield


def _quick(
    original: Attention, queries: mx.array, keys: mx.array, values: mx.array, cache: Any = None, **options: Any
) -> mx.array:
    """Compute causal attention of several queries in blocks, and leave all other attention to ``original``."""
    # Only a cache with quantized keys has an attribute "bits".
    is_plain = options.get("mask") == "causal" and set(options) <= {"mask", "scale"} and not hasattr(cache, "bits")
    if not is_plain or queries.shape[2] < MIN_QUERIES or queries.dtype != mx.float32:
        return original(queries, keys, values, cache=cache, **options)
    rows, heads, length, size = queries.shape
    groups, n_earlier = keys.shape[1], keys.shape[2] - length
    grouped = (queries * options["scale"]).reshape(rows, groups, heads // groups, length, size)
    outs = []
    for start, stop in blocks(length, BLOCK):
        n_seen = n_earlier + stop
        out, _ = attended(grouped[:, :, :, start:stop], keys[:, :, :n_seen], values[:, :, :n_seen])
        outs.append(out)
    return mx.concatenate(outs, axis=3).reshape(rows, heads, length, values.shape[-1])


def attended(queries: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
    """Return the output of a block of queries, and for each query the logarithm of the sum of its exponentiated scores.

    Probabilities are computed in float32.

    Args:
        queries: scaled queries of shape (rows, groups, heads per group, queries, size). They belong to the last positions of the
            keys. A group is the set of heads that share keys.
        keys: all keys up to the end of the block, of shape (rows, groups, keys, size).
        values: the values of the same positions, of shape (rows, groups, keys, value size).

    Returns:
        Arrays of shapes (rows, groups, heads per group, queries, value size) and (rows, groups, heads per group, queries, 1).
    """
    masked = scores(queries, keys)
    highest = mx.max(masked, axis=-1, keepdims=True)
    weights = exp_here(masked - highest)
    total = mx.sum(weights, axis=-1, keepdims=True)
    out = (weights.astype(values.dtype) @ values) / total
    heads = queries.shape[2]
    return ungroup(out.astype(values.dtype), heads), ungroup(mx.log(total) + highest, heads)


def scores(queries: mx.array, keys: mx.array) -> mx.array:
    """Return the scores of a block of queries with all keys up to the block's end, in float32. Later keys are masked.

    ``queries`` and ``keys`` are as in :func:`attended`. The scores have shape (rows, groups, heads per group * queries, keys).
    """
    n_queries, n_keys = queries.shape[3], keys.shape[2]
    is_later = mx.arange(n_keys)[None] > mx.arange(n_keys - n_queries, n_keys)[:, None]
    plain = (group(queries) @ keys.swapaxes(-1, -2)).astype(mx.float32)
    masked = plain.reshape(*queries.shape[:3], n_queries, n_keys) + mx.where(is_later, -1e30, 0.0)
    return masked.reshape(plain.shape)


def blocks(length: int, size: int) -> list[tuple[int, int]]:
    """Divide ``length`` positions into blocks of at most ``size``, and return the start and the end of each block."""
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def group(x: mx.array) -> mx.array:
    """Join the heads of each group, so that one matrix product serves them all.

    The shape changes from (rows, groups, heads, queries, size) to (rows, groups, heads * queries, size).
    """
    rows, groups, heads, n, size = x.shape
    return x.reshape(rows, groups, heads * n, size)


def ungroup(x: mx.array, heads: int) -> mx.array:
    """Undo :func:`group`, where ``heads`` is the number of heads per group."""
    rows, groups, n, size = x.shape
    return x.reshape(rows, groups, heads, n // heads, size)
