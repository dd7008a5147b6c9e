"""Compute the recurrence of GatedDeltaNet layers (Qwen3.5, Qwen3-Next) for training, chunk by chunk instead of token by token.

Each head has a state S of shape (value size, key size). Every token t has a query q[t], a key k[t], a value v[t], a decay g[t] in
[0, 1] and a strength beta[t]. With ' for the transpose, the recurrence is:

    S[t] = g[t] S[t-1] + d[t] k[t]'        d[t] = beta[t] (v[t] - g[t] S[t-1] k[t])        y[t] = S[t] q[t]

mlx-lm computes this in a Python loop over tokens, whose gradient keeps several states for every token. Here the d[t] of a chunk of
C tokens are solved for at once, in the WY form of "Gated Delta Networks" (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464) and
"Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (Yang et al. 2024, arXiv 2406.06484).

Number the tokens of a chunk from 1 to C, and let S be the state before token 1. Let G(i, t) be the product of the decays of the
tokens i + 1 to t. In the matrices Q, K, V, D and Y a row is a token, and D is the solution of a triangular system:

    (I + A) D = beta V - (beta G(0, .) K) S'        A[t, i] = beta[t] G(i, t) k[t].k[i] for i < t, else 0
    Y = (G(0, .) Q) S' + P D                        P[t, i] = G(i, t) q[t].k[i] for i <= t, else 0
    S <- G(0, C) S + D' (G(., C) K)

Everything that does not contain S is computed for all chunks at once. S is passed from chunk to chunk and kept once per chunk.

The result equals that of mlx-lm's ``gated_delta_ops`` up to rounding, even for masked tokens. Two cases are not handled
here: decays for each element of a key (Kimi) are left to mlx-lm's loop, and decoding uses mlx-lm's own kernels. Decays below 1e-37
count as 1e-37 and have no gradient.

    with chunked_gated_delta(network):
        loss, gradient = nn.value_and_grad(network, loss_of)(network, batch)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models import gated_delta
from mlx_lm.models.gated_delta import gated_delta_ops as token_by_token

from mlx_selfdebug.models.binding import bound

CHUNK = 32
"""The number of tokens that are solved for at once, a power of two.

It was measured on two busy x86 cores with 1,024 tokens and 16 heads of size 128, forward and backward. Chunks of 16, 32, 64 and 128
tokens take 0.23, 0.21, 0.26 and 0.43 s and 263, 205, 206 and 251 MB. mlx-lm's loop takes over 10 s and 4,428 MB. ``mx.checkpoint``
around the computation took a third more time and no less memory.
"""
MIN_DECAY = 1e-37
"""The smallest decay that is told from 0, so that every decay has a finite logarithm in float32."""


@contextmanager
def chunked_gated_delta(network: nn.Module) -> Iterator[None]:
    """Have the GatedDeltaNet layers of ``network``, if it has any, compute their recurrence by chunks inside the block.

    mlx-lm's models import ``gated_delta_update`` by name. That function looks ``gated_delta_ops`` up in the module that defines
    both, so one binding in that module serves all models.
    """
    if not _has_gated_delta(network):
        yield
        return
    with bound(gated_delta, "gated_delta_ops", chunked_gated_delta_ops):
        yield


def _has_gated_delta(network: nn.Module) -> bool:
    """Return whether the module that defines a layer of ``network`` has imported mlx-lm's ``gated_delta_update``."""
    modules = {sys.modules.get(type(layer).__module__) for _, layer in network.named_modules()}
    return any(getattr(module, "gated_delta_update", None) is gated_delta.gated_delta_update for module in modules)


def chunked_gated_delta_ops(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    g: mx.array,
    beta: mx.array,
    state: mx.array | None = None,
    mask: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """Return what mlx-lm's ``gated_delta_ops`` returns: y (B, T, Hv, Dv) in the type of q, and the last state (B, Hv, Dv, Dk).

    q, k: (B, T, Hk, Dk); v: (B, T, Hv, Dv), where Hv is a multiple of Hk; g, beta: (B, T, Hv); state: (B, Hv, Dv, Dk), zeros if
    None; mask: (B, T), false where a token leaves the state as it is. Inputs of any type are computed in float32.
    """
    if g.ndim == 4:  # a decay for each element of a key
        by_loop: tuple[mx.array, mx.array] = token_by_token(q, k, v, g, beta, state, mask)
        return by_loop
    batch, length, heads, value_size = v.shape
    if state is None:
        state = mx.zeros((batch, heads, value_size, k.shape[-1]), dtype=mx.float32)
    # The type that mlx-lm's loop would give the state, which these inputs are multiplied into.
    state_type = reduce(mx.result_type, (state, k, v, g, beta), state.dtype)
    chunk = min(CHUNK, 1 << (length - 1).bit_length())  # a short row needs only the next power of two
    repeats = heads // k.shape[2]
    masks = None if mask is None else _chunks(mask[..., None], chunk, filler=1)
    decays = _decays_of(_chunks(g, chunk, filler=1), masks)
    queries, keys = (_chunks(mx.repeat(x, repeats, 2) if repeats > 1 else x, chunk) for x in (q, k))
    solved = _solve(queries, keys, _chunks(v, chunk), _chunks(beta, chunk)[..., None], decays)
    ys, last = _through_chunks(solved, state.astype(mx.float32))
    y = ys.transpose(1, 0, 3, 2, 4).reshape(batch, -1, heads, value_size)[:, :length]
    return y.astype(q.dtype), last.astype(state_type)


def _chunks(x: mx.array, chunk: int, filler: float = 0) -> mx.array:
    """Cut ``x`` into chunks in float32, the last one filled up with ``filler``: (B, T, H, ...) -> (n, B, H, chunk, ...)."""
    batch, length, heads, *rest = x.shape
    x = x.astype(mx.float32)
    if missing := -length % chunk:
        x = mx.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), constant_values=filler)
    return mx.contiguous(x.reshape(batch, -1, chunk, heads, *rest).transpose(1, 0, 3, 2, *range(4, x.ndim + 1)))


@dataclass(frozen=True)
class _Decays:
    """The products of decays in each chunk, from one token to a later one.

    A masked token decays what it reads but not the state. It writes nothing, so ``between`` is 0 in its column, and ``to_end`` is 0
    for it.
    """

    between: mx.array
    """G(i, t) at [t, i] for i < t, and 0 elsewhere: (n, B, H, C, C)."""
    from_start: mx.array
    """G(0, t): (n, B, H, C, 1)."""
    to_end: mx.array
    """G(t, C): (n, B, H, C, 1)."""
    whole: mx.array
    """G(0, C): (n, B, H, 1, 1)."""


def _decays_of(g: mx.array, mask: mx.array | None) -> _Decays:
    """Return the products of the decays ``g``, (n, B, H, C); ``mask`` is (n, B, 1, C), 1 or 0.

    Every product is the exponential of a sum of logarithms, and never of a difference of two such sums. So no large numbers cancel,
    and the exponential is never taken of a positive number. What has to be 0 is set to -inf before the exponential, so that its
    gradient is 0 and not nan.
    """
    logs = mx.log(mx.maximum(g, MIN_DECAY))
    tokens = mx.arange(g.shape[-1])
    earlier = tokens[:, None] > tokens  # [t, i]: i comes before t
    kept = logs if mask is None else logs * mask
    sums, spans = mx.cumsum(kept, axis=-1), mx.cumsum(mx.where(earlier, kept[..., None], 0.0), axis=-2)
    whole, to_end = sums[..., -1:], spans[..., -1, :]
    if mask is not None:
        reading, written = logs * (1 - mask), mask[..., None, :] > 0
        sums, spans = sums + reading, spans + reading[..., None]
        earlier, to_end = earlier & written, mx.where(mask > 0, to_end, -mx.inf)
    between = mx.exp(mx.where(earlier, spans, -mx.inf))
    return _Decays(between, mx.exp(sums)[..., None], mx.exp(to_end)[..., None], mx.exp(whole)[..., None])


@dataclass(frozen=True)
class _Solved:
    """The products of all chunks that do not need S. With them, a chunk takes three steps:

    D = writes - reads S'        Y = queries S' + scores D        S <- whole S + D' keys
    """

    writes: mx.array
    """(I + A)^-1 beta V: (n, B, H, C, Dv)."""
    reads: mx.array
    """(I + A)^-1 beta G(0, .) K: (n, B, H, C, Dk)."""
    queries: mx.array
    """G(0, .) Q: (n, B, H, C, Dk)."""
    scores: mx.array
    """P: (n, B, H, C, C)."""
    keys: mx.array
    """G(., C) K: (n, B, H, C, Dk)."""
    whole: mx.array
    """G(0, C): (n, B, H, 1, 1)."""


def _solve(q: mx.array, k: mx.array, v: mx.array, beta: mx.array, decays: _Decays) -> _Solved:
    """Compute all products without S. q, k: (n, B, H, C, Dk); v: (n, B, H, C, Dv); beta: (n, B, H, C, 1)."""
    transposed_k = k.swapaxes(-1, -2)
    inverse: Any = unit_lower_inverse(beta * decays.between * (k @ transposed_k))
    return _Solved(
        writes=inverse @ (beta * v),
        reads=inverse @ (beta * decays.from_start * k),
        queries=decays.from_start * q,
        scores=(decays.between + mx.eye(k.shape[-2])) * (q @ transposed_k),
        keys=decays.to_end * k,
        whole=decays.whole,
    )


def _through_chunks(solved: _Solved, state: mx.array) -> tuple[mx.array, mx.array]:
    """Pass the state through the chunks; return y (n, B, H, C, Dv) and the state (B, H, Dv, Dk) after the last chunk."""
    columns = (solved.writes, solved.reads, solved.queries, solved.scores, solved.keys, solved.whole)
    ys = []
    for writes, reads, queries, scores, keys, whole in zip(*map(_per_chunk, columns), strict=True):
        transposed = state.swapaxes(-1, -2)
        deltas = writes - reads @ transposed
        ys.append(queries @ transposed + scores @ deltas)
        state = whole * state + deltas.swapaxes(-1, -2) @ keys
    return mx.stack(ys), state


def _per_chunk(x: mx.array) -> list[mx.array]:
    """Return the arrays of the chunks, without the axis of chunks."""
    parts: Any = _split(x)
    return [mx.squeeze(part, 0) for part in parts]


@mx.custom_function
def _split(x: mx.array) -> Any:
    """Split ``x`` along its first axis.

    The gradient of ``mx.split`` itself takes time and memory in the square of the number of parts (mlx 0.32).
    """
    return mx.split(x, x.shape[0])


@_split.vjp
def _split_vjp(_x: mx.array, cotangents: Sequence[mx.array], _parts: Sequence[mx.array]) -> mx.array:
    """Return the gradient of ``x``: the gradients of its parts, joined."""
    return mx.concatenate(list(cotangents))


@mx.custom_function
def unit_lower_inverse(a: mx.array) -> mx.array:
    """Return (I + a)^-1 for a strictly lower triangular ``a``, (..., C, C), where C is a power of two.

    This is forward substitution by blocks. Let X hold the inverses of two neighbouring blocks on the diagonal, and let B be the
    part of ``a`` to the left of the second block. Then X - X B X is the inverse of the block that the two form together. Blocks
    double in size until a single one is left.

    The rounding error is in proportion to the size of the inverse. The product (I - a)(I + a^2)(I + a^4)... would take as few
    steps, but if 32 keys are the same, its powers reach 10^8 and cancel.
    """
    size = a.shape[-1]
    inverse = mx.eye(size) - _left_of_second_blocks(a, 1)
    width = 2
    while width < size:
        inverse = inverse - inverse @ _left_of_second_blocks(a, width) @ inverse
        width *= 2
    return inverse


@unit_lower_inverse.vjp
def _unit_lower_inverse_vjp(_a: mx.array, cotangent: mx.array, inverse: mx.array) -> mx.array:
    """Return the gradient of ``a``, which follows from dX = -X da X for the inverse X. Only what is below the diagonal counts."""
    transposed = inverse.swapaxes(-1, -2)
    return mx.tril(-(transposed @ cotangent @ transposed), -1)


def _left_of_second_blocks(a: mx.array, width: int) -> mx.array:
    """Pair the blocks of ``width`` on the diagonal. Return ``a`` to the left of the second block of each pair, and 0 elsewhere."""
    block = mx.arange(a.shape[-1]) // width
    pair = block // 2
    return mx.where((pair[:, None] == pair) & (block[:, None] > block), a, 0.0)
