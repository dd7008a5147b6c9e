"""From logits to tokens, a whole batch at a time, each row by its own seed and position.

The random number of a row is threefry keyed by (seed, position): which other rows share the batch does not enter it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.sampling.request import Request


class Sampler:
    """Draws one token a row. State: seeds [B, 2] uint32, temperatures [B, 1], min_p [B, 1]."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._seeds = mx.array([[r.seed >> 32, r.seed & 0xFFFFFFFF] for r in requests], dtype=mx.uint32)
        self._temperature = mx.array([[r.temperature] for r in requests], dtype=mx.float32)
        self._min_p = mx.array([[r.min_p] for r in requests], dtype=mx.float32)
        self._greedy = all(r.temperature == 0 for r in requests)

    def draw(self, logits: mx.array, position: int) -> mx.array:
        """logits [B, V] at completion position ``position`` (same for all rows) -> tokens [B]."""
        best = mx.argmax(logits, axis=-1)
        if self._greedy:
            return best
        cold = self._temperature == 0
        scaled = logits.astype(mx.float32) / mx.where(cold, 1.0, self._temperature)
        weights = mx.exp(scaled - mx.max(scaled, axis=-1, keepdims=True))
        weights = mx.where(weights < self._min_p, 0.0, weights)
        edges = mx.cumsum(weights, axis=-1)
        # The first edge strictly above u * total: u < 1 keeps it inside, strictness skips tokens of weight 0.
        above = edges > self._uniform(position)[:, None] * edges[:, -1:]
        return mx.where(cold[:, 0], best, mx.argmax(above, axis=-1))

    def keep(self, rows: mx.array) -> None:
        """Keep these rows [B'] of the batch, in this order."""
        self._seeds, self._temperature, self._min_p = self._seeds[rows], self._temperature[rows], self._min_p[rows]

    def _uniform(self, position: int) -> mx.array:
        keys = self._seeds + mx.array([0, position], dtype=mx.uint32)
        return mx.vmap(lambda key: mx.random.uniform(key=key))(keys)
