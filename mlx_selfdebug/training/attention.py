"""Compute causal attention for training without keeping scores: the backward pass computes them again, some queries at a time.

On most devices MLX's own attention keeps the probabilities of every layer, of shape (rows, heads, length, length), for the backward
pass. They are most of what a long row takes in memory. Here only queries, keys, values, the output and one number per query are
kept. A block of queries is compared only with the keys up to the block's end, which halves the work. The gradients follow Dao et
al. 2022, "FlashAttention" (arXiv 2205.14135), appendix B.4. They are computed by plain MLX operations instead of one kernel. Where
MLX has a kernel of its own that keeps no scores, that is used (``fused_attention.py``).

    with lean_attention(network):
        loss_and_gradient(network, batch)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_selfdebug.models.activations import exp_here
from mlx_selfdebug.models.attention import attended, blocks, group, replaced_attention, scores, ungroup
from mlx_selfdebug.training.fused_attention import Shape, mlx_attention, prefers_mlx
from mlx_selfdebug.training.prompt_states import AttentionStates

BLOCK = 128
"""The number of queries that are computed at a time."""

MIN_PROBABILITY = 1e-20
"""Smaller probabilities count as 0 in the backward pass. Most of these belong to masked positions.

``exp_here`` gives masked positions 2^-126 instead of 0. The product with a small slope is a denormal number, with which Intel's
processors compute very slowly. On a Xeon, a gradient of 459 tokens of the 0.5B took 54 s of CPU time instead of 14.
"""

QueriesKeysValues = tuple[mx.array, mx.array, mx.array]
"""Queries, keys and values, or their gradients."""


@contextmanager
def lean_attention(network: nn.Module) -> Iterator[None]:
    """Have the network use ``causal_attention`` inside the block, or MLX's own where that was tried and is as lean.

    Every other kind of attention stays as it is.
    """
    with replaced_attention(network, _attention):
        yield


def _attention(
    original: Callable[..., mx.array],
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any = None,
    **options: Any,
) -> mx.array:
    """Compute causal attention without keeping scores.

    Decoding (with a cache of mlx-lm's), other masks and further options are left to ``original``.
    """
    is_training = cache is None or isinstance(cache, AttentionStates)
    if is_training and options.get("mask") == "causal" and set(options) <= {"mask", "scale"}:
        lean = mlx_attention if prefers_mlx(Shape.of(queries, keys, values), causal_attention) else causal_attention
        return lean(queries, keys, values, options["scale"])
    return original(queries, keys, values, cache=cache, **options)


def causal_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """Return the attention's output, of shape (rows, heads, length, value size).

    ``queries`` have shape (rows, heads, length, size), ``keys`` (rows, key heads, all, size), and ``values`` (rows, key heads, all,
    value size). The queries belong to the last ``length`` of ``all`` positions. The number of heads is a multiple of the number of
    key heads. Probabilities are computed in float32.
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
    n_earlier = keys.shape[2] - queries.shape[3]
    for start, stop in blocks(queries.shape[3], BLOCK):
        # Without this dependency MLX would compute the scores of all blocks first.
        block = mx.depends(queries[:, :, :, start:stop], outs[-1:])
        seen = n_earlier + stop
        out, log = attended(block, keys[:, :, :seen], values[:, :, :seen])
        outs.append(out)
        logs.append(log)
    return mx.concatenate(outs, axis=3), mx.concatenate(logs, axis=3)


@_grouped.vjp
def _grouped_vjp(
    primals: QueriesKeysValues, cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]
) -> QueriesKeysValues:
    """Return the gradients of queries, keys and values. Nothing depends on the logarithms, so their cotangent is 0."""
    (queries, keys, values), (cotangent, _), (out, logs) = primals, cotangents, outputs
    # D in the paper: for each query, the mean of the slopes of its probabilities, weighted by the probabilities.
    mean_slope = mx.sum((cotangent * out).astype(mx.float32), axis=-1, keepdims=True)
    for_queries, for_keys, for_values = [], mx.zeros_like(keys), mx.zeros_like(values)
    n_earlier = keys.shape[2] - queries.shape[3]
    for start, stop in blocks(queries.shape[3], BLOCK):
        part, seen = slice(start, stop), n_earlier + stop
        seen_keys = keys[:, :, :seen]
        # As above, the blocks are to be computed one after the other.
        block = mx.depends(queries[:, :, :, part], [for_keys, for_values])
        slope = group(cotangent[:, :, :, part])
        probabilities = _probabilities(block, seen_keys, logs[:, :, :, part])
        score_slope = slope @ values[:, :, :seen].swapaxes(-1, -2) - group(mean_slope[:, :, :, part])
        score_slope = (probabilities * score_slope).astype(queries.dtype)
        for_queries.append(ungroup(score_slope @ seen_keys, queries.shape[2]))
        for_keys = _add_to_first(for_keys, score_slope.swapaxes(-1, -2) @ group(block))
        for_values = _add_to_first(for_values, probabilities.astype(values.dtype).swapaxes(-1, -2) @ slope)
    return mx.concatenate(for_queries, axis=3), for_keys, for_values


def _probabilities(queries: mx.array, keys: mx.array, logs: mx.array) -> mx.array:
    """Compute the probabilities of a block of queries again, of shape (rows, groups, heads per group * queries, keys)."""
    probabilities = exp_here(scores(queries, keys) - group(logs))
    return mx.where(probabilities < MIN_PROBABILITY, 0.0, probabilities)


def _add_to_first(total: mx.array, part: mx.array) -> mx.array:
    """Return ``total`` with ``part`` added to its first positions."""
    return total + mx.pad(part, [(0, 0), (0, 0), (0, total.shape[2] - part.shape[2]), (0, 0)])
