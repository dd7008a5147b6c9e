"""The recurrence of GatedDeltaNet layers (Qwen3.5, Qwen3-Next) for training: chunk by chunk instead of token by token.

Each head has a state S, (value size, key size), a decay g[t] in [0, 1] and a strength beta[t]:

    S[t] = g[t] S[t-1] + d[t] k[t]'        d[t] = beta[t] (v[t] - g[t] S[t-1] k[t])        y[t] = S[t] q[t]

mlx-lm computes this in a Python loop over tokens, whose gradient keeps several states for every token. Here C tokens are solved
for at once, in the WY form of "Gated Delta Networks" (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464) and "Parallelizing Linear
Transformers with the Delta Rule over Sequence Length" (Yang et al. 2024, arXiv 2406.06484). Write G(i, t) for the product of the
decays after token i up to token t, token 0 being the state S that the chunk begins with. Rows are tokens, and D solves a
triangular system:

    (I + A) D = beta V - (beta G(0, .) K) S'        A[t, i] = beta[t] G(i, t) k[t].k[i] for i < t, else 0
    Y = (G(0, .) Q) S' + P D                        P[t, i] = G(i, t) q[t].k[i] for i <= t, else 0
    S <- G(0, C) S + D' (G(., C) K)

All that does not hold S is computed for every chunk at once; S goes from chunk to chunk, and is kept once a chunk.

The result is that of mlx-lm's ``gated_delta_ops`` but for rounding, outputs of masked tokens included. Not here: decays for each
element of a key (Kimi), which are left to mlx-lm's loop; generation, which has kernels of its own. Decays below 1e-37 count as
1e-37, and have no gradient.

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

CHUNK = 32
"""Tokens solved for at once, a power of two. Measured on two busy x86 cores, 1,024 tokens, 16 heads of 128, forward and backward:
16, 32, 64 and 128 take 0.23, 0.21, 0.26 and 0.43 s and 263, 205, 206 and 251 MB; mlx-lm's loop over 10 s and 4,428 MB.
``mx.checkpoint`` around it took a third more time and no less memory."""
LEAST_DECAY = 1e-37


@contextmanager
def chunked_gated_delta(network: nn.Module) -> Iterator[None]:
    """Inside the block, layers that train compute their recurrence by chunks, if ``network`` has such layers.

    mlx-lm's models import ``gated_delta_update`` by name, but that function looks ``gated_delta_ops`` up where both are defined:
    the one place to bind, for all models. It is the process's, so a block should hold a step of training and nothing else.
    """
    if not _has_gated_delta(network):
        yield
        return
    before = gated_delta.gated_delta_ops
    gated_delta.gated_delta_ops = chunked_gated_delta_ops
    try:
        yield
    finally:
        gated_delta.gated_delta_ops = before


def _has_gated_delta(network: nn.Module) -> bool:
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
    """What mlx-lm's ``gated_delta_ops`` gives. Computed in float32 whatever the inputs are.

    q, k: (B, T, Hk, Dk); v: (B, T, Hv, Dv), Hv a multiple of Hk; g, beta: (B, T, Hv); state: (B, Hv, Dv, Dk), zeros if None;
    mask: (B, T), false where a token leaves the state as it is. Returns y (B, T, Hv, Dv) in q's type, and the last state.
    """
    if g.ndim == 4:
        after: tuple[mx.array, mx.array] = token_by_token(q, k, v, g, beta, state, mask)
        return after
    batch, length, heads, value_size = v.shape
    if state is None:
        state = mx.zeros((batch, heads, value_size, k.shape[-1]), dtype=mx.float32)
    state_type = reduce(mx.result_type, (state, k, v, g, beta), state.dtype)
    chunk = min(CHUNK, 1 << (length - 1).bit_length())
    repeats = heads // k.shape[2]
    masks = None if mask is None else _chunks(mask[..., None], chunk, filler=1)
    decays = _decays_of(_chunks(g, chunk, filler=1), masks)
    queries, keys = (_chunks(mx.repeat(x, repeats, 2) if repeats > 1 else x, chunk) for x in (q, k))
    solved = _solve(queries, keys, _chunks(v, chunk), _chunks(beta, chunk)[..., None], decays)
    ys, last = _through_chunks(solved, state.astype(mx.float32))
    y = ys.transpose(1, 0, 3, 2, 4).reshape(batch, -1, heads, value_size)[:, :length]
    return y.astype(q.dtype), last.astype(state_type)


def _chunks(x: mx.array, chunk: int, filler: float = 0) -> mx.array:
    """(B, T, H, ...) -> (n, B, H, chunk, ...) in float32, the last chunk filled up with ``filler``."""
    batch, length, heads, *rest = x.shape
    x = x.astype(mx.float32)
    if missing := -length % chunk:
        x = mx.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), constant_values=filler)
    return mx.contiguous(x.reshape(batch, -1, chunk, heads, *rest).transpose(1, 0, 3, 2, *range(4, x.ndim + 1)))


@dataclass(frozen=True)
class _Decays:
    """Products of decays in a chunk, from one token to a later one. A masked token decays what it reads, but not the state.

    between: G(i, t) at [t, i] for i < t, else 0: (n, B, H, C, C). from_start, to_end: G(0, t), G(t, C): (n, B, H, C, 1).
    whole: G(0, C): (n, B, H, 1, 1). Columns of masked tokens, who write nothing, are 0 in ``between`` and ``to_end``.
    """

    between: mx.array
    from_start: mx.array
    to_end: mx.array
    whole: mx.array


def _decays_of(g: mx.array, mask: mx.array | None) -> _Decays:
    """g: (n, B, H, C); mask: (n, B, 1, C), 1 or 0.

    Every product is the exponential of a sum of logarithms, never of a difference of such sums: no large numbers cancel, and none
    that is positive is ever raised. What is to be 0 is -inf before the exponential, whose gradient is then 0 and not nan.
    """
    logs = mx.log(mx.maximum(g, LEAST_DECAY))
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
    """All of the chunks' products that do not need S, each (n, B, H, C, ...): what is left is

    D = writes - reads S'        Y = queries S' + scores D        S <- whole S + D' keys
    """

    writes: mx.array
    reads: mx.array
    queries: mx.array
    scores: mx.array
    keys: mx.array
    whole: mx.array


def _solve(q: mx.array, k: mx.array, v: mx.array, beta: mx.array, decays: _Decays) -> _Solved:
    """q, k: (n, B, H, C, Dk); v: (n, B, H, C, Dv); beta: (n, B, H, C, 1)."""
    across = k.swapaxes(-1, -2)
    inverse: Any = unit_lower_inverse(beta * decays.between * (k @ across))
    return _Solved(
        writes=inverse @ (beta * v),
        reads=inverse @ (beta * decays.from_start * k),
        queries=decays.from_start * q,
        scores=(decays.between + mx.eye(k.shape[-2])) * (q @ across),
        keys=decays.to_end * k,
        whole=decays.whole,
    )


def _through_chunks(solved: _Solved, state: mx.array) -> tuple[mx.array, mx.array]:
    """y (n, B, H, C, Dv), and the state (B, H, Dv, Dk) after the last chunk."""
    columns = (solved.writes, solved.reads, solved.queries, solved.scores, solved.keys, solved.whole)
    ys = []
    for writes, reads, queries, scores, keys, whole in zip(*map(_one_by_one, columns), strict=True):
        before = state.swapaxes(-1, -2)
        deltas = writes - reads @ before
        ys.append(queries @ before + scores @ deltas)
        state = whole * state + deltas.swapaxes(-1, -2) @ keys
    return mx.stack(ys), state


def _one_by_one(x: mx.array) -> list[mx.array]:
    parts: Any = _split(x)
    return [mx.squeeze(part, 0) for part in parts]


@mx.custom_function
def _split(x: mx.array) -> Any:
    """``mx.split`` along the first axis, whose own gradient takes time and memory in the square of the parts (mlx 0.32)."""
    return mx.split(x, x.shape[0])


@_split.vjp
def _split_vjp(_x: mx.array, cotangents: Sequence[mx.array], _parts: Sequence[mx.array]) -> mx.array:
    return mx.concatenate(list(cotangents))


@mx.custom_function
def unit_lower_inverse(a: mx.array) -> mx.array:
    """(I + a)^-1 of strictly lower triangular ``a``, (..., C, C), C a power of two.

    Forward substitution by blocks: the inverses X of two neighbours on the diagonal give that of the block they make with what is
    left of the second, X <- X - X a X. Blocks double until there is one. As exact as the inverse is large; the product
    (I - a)(I + a^2)(I + a^4)... is as short, but its powers reach 10^8 at 32 keys that repeat, and cancel.
    """
    size = a.shape[-1]
    inverse = mx.eye(size) - _below(a, 1)
    width = 2
    while width < size:
        inverse = inverse - inverse @ _below(a, width) @ inverse
        width *= 2
    return inverse


@unit_lower_inverse.vjp
def _unit_lower_inverse_vjp(_a: mx.array, cotangent: mx.array, inverse: mx.array) -> mx.array:
    across = inverse.swapaxes(-1, -2)
    return mx.tril(-(across @ cotangent @ across), -1)


def _below(a: mx.array, width: int) -> mx.array:
    """``a`` where blocks of ``width`` on the diagonal stand beside the block before them, pair by pair; 0 elsewhere."""
    block = mx.arange(a.shape[-1]) // width
    pair = block // 2
    return mx.where((pair[:, None] == pair) & (block[:, None] > block), a, 0.0)
