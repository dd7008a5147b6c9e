"""Draw tokens from logits for a whole batch at a time, each row by its own seed and position.

The random number of a row is threefry keyed by (seed, position), so it does not depend on which other rows share the batch.
"""

from __future__ import annotations

from mlx_selfdebug.models.backend import mx

import numpy as np

from mlx_selfdebug.sampling.request import Request

BLOCK = 64
BLOCKS = 128
"""With ``min_p``, tokens are drawn only from the 128 blocks of 64 ids that hold the likeliest tokens.

This saves most of the exponentials over a vocabulary of 150,000. A token that ``min_p`` would have kept is left out only if more
than 128 blocks hold such a token, which takes a distribution far flatter than a model's.
"""


class Sampler:
    """A sampler that draws one token per row. It holds the seed, the temperature and the min_p of each row."""

    def __init__(self, rows: int) -> None:
        self._seeds = np.zeros((rows, 2), np.uint32)
        self._temperature = np.zeros((rows, 1), np.float32)
        self._min_p = np.zeros((rows, 1), np.float32)
        self._settled = False

    def set(self, row: int, request: Request) -> None:
        self._seeds[row] = request.seed >> 32, request.seed & 0xFFFFFFFF
        self._temperature[row] = request.temperature
        self._min_p[row] = request.min_p
        self._settled = False

    def clear(self, row: int) -> None:
        """Make ``row`` idle. An idle row is drawn greedily, which costs nothing."""
        self._temperature[row] = 0
        self._settled = False

    def keep(self, rows: list[int], total: int) -> None:
        """Keep these rows, in this order, as the first of ``total`` rows."""
        for name in ("_seeds", "_temperature", "_min_p"):
            old = getattr(self, name)
            new = np.zeros((total, old.shape[1]), old.dtype)
            new[: len(rows)] = old[rows]
            setattr(self, name, new)
        self._settled = False

    def draw(self, logits: mx.array, positions: mx.array) -> mx.array:
        """Return the tokens (rows,) that are drawn from ``logits`` (rows, vocabulary).

        ``positions`` (rows,) are the positions of these tokens in their completions.
        """
        if not self._settled:
            self._settle()
        best = mx.argmax(logits, axis=-1)
        if self._greedy:
            return best
        if not self._all_min_p or logits.shape[-1] <= BLOCK * BLOCKS:
            drawn = self._among(logits, positions)
        else:
            ids, likeliest = _likeliest(logits)
            place = self._among(likeliest, positions)[:, None]
            drawn = mx.take_along_axis(ids, place, axis=-1)[:, 0].astype(best.dtype)
        return mx.where(self._cold[:, 0], best, drawn)

    def _among(self, logits: mx.array, positions: mx.array) -> mx.array:
        """Return places (rows,) in ``logits`` (rows, candidates), drawn by inverting the cumulative distribution."""
        scaled = logits.astype(mx.float32) / self._divisor
        weights = mx.exp(scaled - mx.max(scaled, axis=-1, keepdims=True))
        weights = weights * (weights >= self._min_weight)
        edges = mx.cumsum(weights, axis=-1)
        # The token drawn is the first whose edge lies strictly above u * total. There is one, because u < 1, and it never has
        # the weight 0, because its edge lies above the one before it.
        above = edges > self._uniform(positions)[:, None] * edges[:, -1:]
        return mx.argmax(above, axis=-1)

    def _uniform(self, positions: mx.array) -> mx.array:
        keys = mx.stack([self._keys[:, 0], self._keys[:, 1] + positions.astype(mx.uint32)], axis=1)
        return mx.vmap(lambda key: mx.random.uniform(key=key))(keys)

    def _settle(self) -> None:
        self._settled = True
        warm = self._temperature > 0
        self._greedy = not warm.any()
        self._all_min_p = bool((self._min_p[warm] > 0).all())
        self._cold = mx.array(~warm)
        self._divisor = mx.array(np.where(warm, self._temperature, 1))
        self._min_weight = mx.array(self._min_p)
        self._keys = mx.array(self._seeds)


def _likeliest(logits: mx.array) -> tuple[mx.array, mx.array]:
    """Return the ids and logits (rows, BLOCKS * BLOCK) of the blocks with the largest maxima, in the order of the vocabulary."""
    rows, size = logits.shape
    spare = -size % BLOCK
    if spare:
        logits = mx.pad(logits, [(0, 0), (0, spare)], constant_values=-float("inf"))
    blocks = logits.reshape(rows, -1, BLOCK)
    chosen = mx.sort(mx.argpartition(-mx.max(blocks, axis=-1), BLOCKS, axis=-1)[:, :BLOCKS], axis=-1)
    ids = (chosen[..., None] * BLOCK + mx.arange(BLOCK, dtype=chosen.dtype)).reshape(rows, -1)
    return ids, mx.take_along_axis(blocks, chosen[..., None], axis=1).reshape(rows, -1)
