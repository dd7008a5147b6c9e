"""Decide whether MLX's own attention computes the causal attention of a training, instead of ``attention.causal_attention``.

In newer versions of MLX the backward pass of ``mx.fast.scaled_dot_product_attention`` is one kernel on some devices and keeps no
scores (0.32.4 has one on Metal). Elsewhere it keeps all of them. Which of the two it is, and for which shapes, is not asked but
tried: both kinds of attention compute the gradients of the same random numbers. MLX's own is used if its results are as exact and
its peak of memory is no higher. Each kind of shape is tried once per process.

On the CPU nothing is tried, because MLX keeps the scores there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from mlx_selfdebug.models.backend import device_name, mx

N_QUERIES, N_KEYS = 1024, 1152
"""The lengths that are tried. As where completions go on from a shared prompt, there are more keys than queries.

They are long enough for scores that are kept to take more memory than the blocks of ``attention.py``, even in half precision.
"""
MIN_ERROR = 1e-5
"""Two kinds of attention are equally exact if neither is off by more than this share of the largest value."""
MAX_ERROR_RATIO = 2.0
"""How many times further off than ours MLX's attention may be, beyond ``MIN_ERROR``."""

Attention = Callable[[mx.array, mx.array, mx.array, float], mx.array]
"""A causal attention of queries, keys and values with a scale, as ``attention.causal_attention``."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """What decides which kernel computes an attention."""

    heads: int
    key_heads: int
    size: int
    """The length of a query and of a key."""
    value_size: int
    dtype: mx.Dtype

    @classmethod
    def of(cls, queries: mx.array, keys: mx.array, values: mx.array) -> Shape:
        """Return the shape of an attention, whose arrays are as in ``attention.causal_attention``."""
        return cls(queries.shape[1], keys.shape[1], queries.shape[3], values.shape[3], queries.dtype)


@dataclass(frozen=True)
class Trial:
    """What one kind of attention came to on the numbers that are tried."""

    error: float
    """The largest difference of the output and the gradients from the exact ones, as a share of the largest value of each."""
    peak_bytes: int
    """The peak of MLX's memory beyond what it held before."""


def mlx_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """Compute causal attention as ``attention.causal_attention`` does, by MLX's own function."""
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask="causal")


@cache
def prefers_mlx(shape: Shape, ours: Attention) -> bool:
    """Return whether MLX's own attention is to be used for ``shape`` on the default device, instead of ``ours``."""
    if device_name() == "cpu":
        return False
    try:
        tried = try_both(shape, ours)
    except (RuntimeError, ValueError) as error:  # no kernel for this shape
        logger.debug("MLX's own attention cannot be differentiated for %s: %s", shape, error)
        return False
    chosen = is_better(*tried)
    logger.debug("attention of %s: %s is used; ours %s, MLX's own %s", shape, "MLX's own" if chosen else "ours", *tried)
    return chosen


def is_better(ours: Trial, theirs: Trial) -> bool:
    """Return whether MLX's own attention (``theirs``) is as exact as ours and takes no more memory."""
    is_exact = theirs.error <= max(MIN_ERROR, MAX_ERROR_RATIO * ours.error)
    return is_exact and theirs.peak_bytes <= ours.peak_bytes


def try_both(shape: Shape, ours: Attention) -> tuple[Trial, Trial]:
    """Return what ``ours`` and MLX's own attention come to on the same random numbers of ``shape``."""
    keys = mx.random.split(mx.random.key(0), 4)
    lengths = [
        (shape.heads, N_QUERIES, shape.size),
        (shape.key_heads, N_KEYS, shape.size),
        (shape.key_heads, N_KEYS, shape.value_size),
        (shape.heads, N_QUERIES, shape.value_size),
    ]
    drawn = [
        mx.random.normal((1, *length), key=key).astype(shape.dtype) for length, key in zip(lengths, keys, strict=True)
    ]
    mx.eval(drawn)
    exact, _ = _results(ours, [array.astype(mx.float32) for array in drawn])
    return _trial(ours, drawn, exact), _trial(mlx_attention, drawn, exact)


def _trial(attention: Attention, drawn: Sequence[mx.array], exact: Sequence[mx.array]) -> Trial:
    results, peak_bytes = _results(attention, drawn)
    errors = [
        mx.max(mx.abs(result.astype(mx.float32) - right)) / mx.max(mx.abs(right))
        for result, right in zip(results, exact, strict=True)
    ]
    return Trial(float(mx.max(mx.stack(errors))), peak_bytes)


def _results(attention: Attention, drawn: Sequence[mx.array]) -> tuple[list[mx.array], int]:
    """Return the output and the gradients of queries, keys and values, and the peak of memory in bytes.

    ``drawn`` are queries, keys, values and the cotangent of the output.
    """
    *primals, cotangent = drawn
    scale = primals[0].shape[-1] ** -0.5
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    outputs, gradients = mx.vjp(lambda q, k, v: attention(q, k, v, scale), primals, [cotangent])
    results = [*outputs, *gradients]
    mx.eval(results)
    return results, mx.get_peak_memory() - before
