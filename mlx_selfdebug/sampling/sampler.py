"""Draw tokens from logits for a whole batch at a time, each row with its own seed and position.

The random number of a row comes from the generator threefry with the key (seed, position), so it does not depend on which other
rows share the batch.
"""

from __future__ import annotations

from mlx_selfdebug.models.backend import mx

import numpy as np

from mlx_selfdebug.sampling.request import Request

BLOCK = 64
"""The vocabulary is divided into blocks of this many ids."""
BLOCKS = 128
"""With ``min_p``, tokens are drawn only from the 128 blocks that hold the likeliest tokens.

This saves most of the exponentials over a vocabulary of 150,000. A token that ``min_p`` would have kept is left out only if more
than 128 blocks hold such a token, which takes a distribution far flatter than a model's.
"""


class Sampler:
    """A sampler that draws one token per row. It holds the seed, the temperature and the min_p of each row.

    These settings are arrays on the host, in which single rows change. ``draw`` copies them to the device after a change.
    """

    def __init__(self, rows: int) -> None:
        self._seeds = np.zeros((rows, 2), np.uint32)
        self._temperature = np.zeros((rows, 1), np.float32)
        self._min_p = np.zeros((rows, 1), np.float32)
        self._is_on_device = False

    def set(self, row: int, request: Request) -> None:
        """Draw the tokens of ``row`` with the seed, the temperature and the min_p of ``request`` from now on."""
        self._seeds[row] = request.seed >> 32, request.seed & 0xFFFFFFFF
        self._temperature[row] = request.temperature
        self._min_p[row] = request.min_p
        self._is_on_device = False

    def clear(self, row: int) -> None:
        """Make ``row`` idle. The token of an idle row is drawn greedily, which costs nothing."""
        self._temperature[row] = 0
        self._is_on_device = False

    def keep(self, rows: list[int], total: int) -> None:
        """Make these rows, in this order, the first of ``total`` rows. The other rows become idle."""
        for name in ("_seeds", "_temperature", "_min_p"):
            old = getattr(self, name)
            new = np.zeros((total, old.shape[1]), old.dtype)
            new[: len(rows)] = old[rows]
            setattr(self, name, new)
        self._is_on_device = False

    def draw(self, logits: mx.array, positions: mx.array) -> mx.array:
        """Return the tokens, of shape (rows,), that are drawn from ``logits`` of shape (rows, vocabulary).

        ``positions``, of shape (rows,), are the positions of these tokens in their completions.
        """
        if not self._is_on_device:
            self._copy_to_device()
        best = mx.argmax(logits, axis=-1)
        if self._all_greedy:
            return best
        if not self._all_min_p or logits.shape[-1] <= BLOCK * BLOCKS:
            drawn = self._draw_index(logits, positions)
        else:
            ids, likeliest = _likeliest_blocks(logits)
            index = self._draw_index(likeliest, positions)[:, None]
            drawn = mx.take_along_axis(ids, index, axis=-1)[:, 0].astype(best.dtype)
        return mx.where(self._is_greedy[:, 0], best, drawn)

    def _draw_index(self, logits: mx.array, positions: mx.array) -> mx.array:
        """Return one index per row into ``logits`` of shape (rows, candidates), drawn by inverting the cumulative distribution."""
        scaled = logits.astype(mx.float32) / self._divisor
        weights = mx.exp(scaled - mx.max(scaled, axis=-1, keepdims=True))
        weights = weights * (weights >= self._min_weight)
        edges = mx.cumsum(weights, axis=-1)
        # The token drawn is the first whose edge is strictly above u * total. There is such a token, because u < 1. Its weight is
        # not 0, because its edge is above the edge of the token before it.
        above = edges > self._uniform(positions)[:, None] * edges[:, -1:]
        return mx.argmax(above, axis=-1)

    def _uniform(self, positions: mx.array) -> mx.array:
        """Return a random number in [0, 1) per row. Its key is the row's seed, to whose low half the position is added."""
        keys = mx.stack([self._keys[:, 0], self._keys[:, 1] + positions.astype(mx.uint32)], axis=1)
        return mx.vmap(lambda key: mx.random.uniform(key=key))(keys)

    def _copy_to_device(self) -> None:
        """Copy the settings of all rows to the device, and note which of them differ between the rows."""
        self._is_on_device = True
        is_random = self._temperature > 0
        self._all_greedy = not is_random.any()
        self._all_min_p = bool((self._min_p[is_random] > 0).all())
        self._is_greedy = mx.array(~is_random)
        self._divisor = mx.array(np.where(is_random, self._temperature, 1))
        self._min_weight = mx.array(self._min_p)
        self._keys = mx.array(self._seeds)


def _likeliest_blocks(logits: mx.array) -> tuple[mx.array, mx.array]:
    """Return the ids and the logits of the blocks with the largest maxima, in the order of the vocabulary.

    Both have shape (rows, BLOCKS * BLOCK).
    """
    rows, size = logits.shape
    missing = -size % BLOCK
    if missing:
        logits = mx.pad(logits, [(0, 0), (0, missing)], constant_values=-float("inf"))
    blocks = logits.reshape(rows, -1, BLOCK)
    chosen = mx.sort(mx.argpartition(-mx.max(blocks, axis=-1), BLOCKS, axis=-1)[:, :BLOCKS], axis=-1)
    ids = (chosen[..., None] * BLOCK + mx.arange(BLOCK, dtype=chosen.dtype)).reshape(rows, -1)
    return ids, mx.take_along_axis(blocks, chosen[..., None], axis=1).reshape(rows, -1)
