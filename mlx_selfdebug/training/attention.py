"""Compute causal attention for training without keeping scores: the backward pass computes them again, some queries at a time.

MLX's own attention keeps the probabilities of every layer, (rows, heads, length, length), for the backward pass. They are most of
what a long row takes in memory. Here only queries, keys, values, the output and one number per query are kept. A block of queries
is compared only with the keys up to the block's end, which halves the work. The gradients follow Dao et al. 2022, "FlashAttention"
(arXiv 2205.14135), appendix B.4, but are made of plain operations and not of one kernel.

    with lean_attention(network):
        loss_and_gradient(network, batch)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.training.binding import bound

BLOCK = 128
"""The number of queries that are computed at a time."""
NAME = "scaled_dot_product_attention"
"""The function that mlx-lm's models call. Each model's module has imported it under this name."""

QueriesKeysValues = tuple[mx.array, mx.array, mx.array]


@contextmanager
def lean_attention(network: nn.Module) -> Iterator[None]:
    """Replace the model's causal attention by this one inside the block. Every other kind of attention stays as it is."""
    modules = {type(module).__module__ for _, module in network.named_modules()}
    with ExitStack() as stack:
        for name in sorted(modules):
            original = getattr(sys.modules.get(name), NAME, None)
            if original is not None:
                stack.enter_context(bound(sys.modules[name], NAME, partial(_attention, original)))
        yield


def _attention(
    original: Callable[..., mx.array],
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any = None,
    **options: Any,
) -> mx.array:
    plain = cache is None and options.get("mask") == "causal" and set(options) <= {"mask", "scale"}
    if not plain or queries.shape[2] != keys.shape[2]:
        return original(queries, keys, values, cache=cache, **options)
    return causal_attention(queries, keys, values, options["scale"])


def causal_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """Return the attention's output, of shape (rows, heads, length, value size).

    ``queries`` have shape (rows, heads, length, size), ``keys`` (rows, key heads, length, size), and ``values`` (rows, key heads,
    length, value size). The number of heads is a multiple of that of key heads. Probabilities are computed in float32.
    """
    rows, heads, length, size = queries.shape
    groups = keys.shape[1]
    grouped = (queries * scale).reshape(rows, groups, heads // groups, length, size)
    outputs: Any = _grouped(grouped, keys, values)
    out: mx.array = outputs[0]
    return out.reshape(rows, heads, length, values.shape[-1])


@mx.custom_function
def _grouped(queries: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
    """Return the output and, for each query, the logarithm of the sum of its weights.

    ``queries`` are scaled and have shape (rows, groups, heads per group, length, size).
    """
    outs: list[mx.array] = []
    logs: list[mx.array] = []
    for start, stop in _blocks(queries.shape[3]):
        # Without this dependency MLX would compute the scores of all blocks first.
        block = mx.depends(queries[:, :, :, start:stop], outs[-1:])
        scores = _scores(block, keys[:, :, :stop])
        highest = mx.max(scores, axis=-1, keepdims=True)
        weights = exp_here(scores - highest)
        total = mx.sum(weights, axis=-1, keepdims=True)
        out = (weights.astype(values.dtype) @ values[:, :, :stop]) / total
        outs.append(_ungroup(out.astype(values.dtype), queries.shape[2]))
        logs.append(_ungroup(mx.log(total) + highest, queries.shape[2]))
    return mx.concatenate(outs, axis=3), mx.concatenate(logs, axis=3)


@_grouped.vjp
def _grouped_vjp(
    primals: QueriesKeysValues, cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> QueriesKeysValues:
    (queries, keys, values), (cotangent, _), (out, logs) = primals, cotangents, outputs
    share = mx.sum((cotangent * out).astype(mx.float32), axis=-1, keepdims=True)
    for_queries, for_keys, for_values = [], mx.zeros_like(keys), mx.zeros_like(values)
    for start, stop in _blocks(queries.shape[3]):
        part, seen_keys = slice(start, stop), keys[:, :, :stop]
        block = mx.depends(queries[:, :, :, part], [for_keys, for_values])
        slope = _group(cotangent[:, :, :, part])
        probabilities = exp_here(_scores(block, seen_keys) - _group(logs[:, :, :, part]))
        score_slope = slope @ values[:, :, :stop].swapaxes(-1, -2) - _group(share[:, :, :, part])
        score_slope = (probabilities * score_slope).astype(queries.dtype)
        for_queries.append(_ungroup(score_slope @ seen_keys, queries.shape[2]))
        for_keys = _add_first(for_keys, score_slope.swapaxes(-1, -2) @ _group(block))
        for_values = _add_first(for_values, probabilities.astype(values.dtype).swapaxes(-1, -2) @ slope)
    return mx.concatenate(for_queries, axis=3), for_keys, for_values


def _scores(queries: mx.array, keys: mx.array) -> mx.array:
    """Return the masked scores of a block of queries with all keys up to the block's end, in float32.

    Their shape is (rows, groups, heads per group * queries, keys).
    """
    n, seen = queries.shape[3], keys.shape[2]
    later = mx.arange(seen)[None] > mx.arange(seen - n, seen)[:, None]
    scores = (_group(queries) @ keys.swapaxes(-1, -2)).astype(mx.float32)
    masked = scores.reshape(*queries.shape[:3], n, seen) + mx.where(later, -1e30, 0.0)
    return masked.reshape(scores.shape)


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _group(x: mx.array) -> mx.array:
    """Join the heads of a group, so that one matrix product serves them all.

    (rows, groups, heads, queries, size) -> (rows, groups, heads * queries, size)
    """
    rows, groups, heads, n, size = x.shape
    return x.reshape(rows, groups, heads * n, size)


def _ungroup(x: mx.array, heads: int) -> mx.array:
    rows, groups, n, size = x.shape
    return x.reshape(rows, groups, heads, n // heads, size)


def _add_first(total: mx.array, part: mx.array) -> mx.array:
    """Return ``total`` with ``part`` added to its first positions."""
    return total + mx.pad(part, [(0, 0), (0, 0), (0, total.shape[2] - part.shape[2]), (0, 0)])
