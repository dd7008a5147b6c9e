"""Compute causal attention some queries at a time, which is faster on the CPU and needs less memory everywhere.

A block of queries sees only the keys up to its end, so about half of the scores are never computed. All heads that share keys go
through one matrix product. The exponential is that of ``activations.py``: on x86, MLX's own takes most of the time of a prefill's
attention.

    with quick_attention(network):
        network(ids, cache=caches)
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
"""The smallest number of queries for which blocks pay."""

Attention = Callable[..., mx.array]


@contextmanager
def quick_attention(network: nn.Module) -> Iterator[None]:
    """Have the network compute the causal attention of prefills by blocks inside the block, where that is faster: on the CPU.

    It cannot be differentiated. Attention with another mask, and that of single tokens, stays as it is.
    """
    if device_name() != "cpu":
        yield
        return
    with replaced_attention(network, _quick):
        yield


@contextmanager
def replaced_attention(network: nn.Module, replacement: Attention) -> Iterator[None]:
    """Bind ``replacement`` where the network's modules look their attention up. Its first argument is the original."""
    modules = {type(module).__module__ for _, module in network.named_modules()}
    with ExitStack() as stack:
        for name in sorted(modules):
            original = getattr(sys.modules.get(name), NAME, None)
            if original is not None:
                stack.enter_context(bound(sys.modules[name], NAME, partial(replacement, original)))
        yield


def _quick(
    original: Attention, queries: mx.array, keys: mx.array, values: mx.array, cache: Any = None, **options: Any
) -> mx.array:
    is_plain = options.get("mask") == "causal" and set(options) <= {"mask", "scale"} and not hasattr(cache, "bits")
    if not is_plain or queries.shape[2] < MIN_QUERIES or queries.dtype != mx.float32:
        return original(queries, keys, values, cache=cache, **options)
    rows, heads, length, size = queries.shape
    groups, earlier = keys.shape[1], keys.shape[2] - length
    grouped = (queries * options["scale"]).reshape(rows, groups, heads // groups, length, size)
    outs = []
    for start, stop in blocks(length, BLOCK):
        seen = earlier + stop
        out, _ = attended(grouped[:, :, :, start:stop], keys[:, :, :seen], values[:, :, :seen])
        outs.append(out)
    return mx.concatenate(outs, axis=3).reshape(rows, heads, length, values.shape[-1])


def attended(queries: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
    """Return the output of a block of queries, and for each query the logarithm of the sum of its weights.

    ``queries`` are scaled and have shape (rows, groups, heads per group, queries, size). They are the last ones of the positions
    of ``keys`` and ``values``, of shape (rows, groups, keys, size). Probabilities are computed in float32.
    """
    masked = scores(queries, keys)
    highest = mx.max(masked, axis=-1, keepdims=True)
    weights = exp_here(masked - highest)
    total = mx.sum(weights, axis=-1, keepdims=True)
    out = (weights.astype(values.dtype) @ values) / total
    heads = queries.shape[2]
    return ungroup(out.astype(values.dtype), heads), ungroup(mx.log(total) + highest, heads)


def scores(queries: mx.array, keys: mx.array) -> mx.array:
    """Return the masked scores of a block of queries with all keys up to the block's end, in float32.

    Their shape is (rows, groups, heads per group * queries, keys).
    """
    n, seen = queries.shape[3], keys.shape[2]
    later = mx.arange(seen)[None] > mx.arange(seen - n, seen)[:, None]
    plain = (group(queries) @ keys.swapaxes(-1, -2)).astype(mx.float32)
    masked = plain.reshape(*queries.shape[:3], n, seen) + mx.where(later, -1e30, 0.0)
    return masked.reshape(plain.shape)


def blocks(length: int, size: int) -> list[tuple[int, int]]:
    """Return where blocks of at most ``size`` positions begin and end."""
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def group(x: mx.array) -> mx.array:
    """Join the heads of a group, so that one matrix product serves them all.

    (rows, groups, heads, queries, size) -> (rows, groups, heads * queries, size)
    """
    rows, groups, heads, n, size = x.shape
    return x.reshape(rows, groups, heads * n, size)


def ungroup(x: mx.array, heads: int) -> mx.array:
    """Undo ``group``."""
    rows, groups, n, size = x.shape
    return x.reshape(rows, groups, heads, n // heads, size)
