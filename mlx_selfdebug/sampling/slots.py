"""The caches of a decode batch: a fixed number of rows, each at its own length, taken and given back one by one.

Keys and values of a row lie at their positions from 0 on, so a row may come or go without the others being copied, and what a row
computes does not depend on where the others stand. Layers with a recurrent state (mlx-lm's ``ArraysCache``) keep one state a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache, make_prompt_cache

from mlx_selfdebug.errors import ModelError

EXTENT_STEP = 32
"""Attention looks at lengths rounded up to this: few shapes, and sums whose order does not depend on the longest row."""
CAPACITY_STEP = 256


class Slots:
    """``layers`` is what the network takes as its cache, for ``width`` rows of one new token each. An additive mask holds float32
    numbers to add instead of booleans: on the CPU a choice takes longer than an addition.

    Raises ModelError for a network whose cache cannot be kept by row.
    """

    def __init__(self, network: nn.Module, width: int, *, additive_mask: bool) -> None:
        self.clock = _Clock(width, additive_mask=additive_mask)
        self.layers: list[Any] = [self._layer(cache) for cache in make_prompt_cache(network)]

    @property
    def width(self) -> int:
        return self.clock.lengths.size

    @property
    def state(self) -> list[mx.array]:
        """Every array held, to be evaluated with the step that made it."""
        return [array for layer in self.layers for array in _arrays(layer)]

    def load(self, row: int, prefix: Sequence[Any], length: int) -> None:
        """Fill ``row`` with the first ``length`` tokens of caches (one a layer, batch of one). Those of recurrent layers are copied
        whole."""
        self.clock.lengths[row] = length
        self.clock.make_room(length + 1)
        for layer, single in zip(self.layers, prefix, strict=True):
            if isinstance(layer, _RowKeys):
                layer.load(row, single, length)
            else:
                _load_state(layer, row, single, self.width)
        mx.eval(self.state)

    def clear(self, row: int) -> None:
        self.clock.lengths[row] = 0

    def begin_step(self) -> None:
        self.clock.begin_step()

    def end_step(self, rows: Sequence[int]) -> None:
        """The given rows are one token longer; the others wrote over their own first place, which nobody reads."""
        self.clock.lengths[list(rows)] += 1

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Keep these rows, in this order, as the first of ``width``."""
        self.clock.keep(rows, width)
        index = mx.array([*rows, *([0] * (width - len(rows)))])
        for layer in self.layers:
            if isinstance(layer, _RowKeys):
                layer.keep(index)
            else:
                layer.cache = [None if array is None else array[index] for array in layer.cache]
            mx.eval(_arrays(layer))  # one layer at a time: the copies are never all there at once

    def _layer(self, cache: Any) -> Any:
        if type(cache) in (KVCache, RotatingKVCache):
            return _RowKeys(self.clock)
        if type(cache) is ArraysCache:
            return ArraysCache(len(cache.cache))
        raise ModelError(f"a model with a {type(cache).__name__} cannot be decoded in a batch")


class _Clock:
    """The lengths of all rows, shared by the layers: lengths (rows) on the host, and what a step needs of them on the device."""

    def __init__(self, width: int, *, additive_mask: bool) -> None:
        self.lengths = np.zeros(width, np.int32)
        self.capacity = 0
        self.extent = 0
        self._additive = additive_mask

    def make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            self.capacity = -(-tokens // CAPACITY_STEP) * CAPACITY_STEP

    def begin_step(self) -> None:
        longest = int(self.lengths.max()) + 1
        self.make_room(longest)
        self.extent = min(-(-longest // EXTENT_STEP) * EXTENT_STEP, self.capacity)
        self.offset = mx.array(self.lengths)
        self.rows = mx.arange(self.lengths.size)

    def keep(self, rows: Sequence[int], width: int) -> None:
        lengths = np.zeros(width, np.int32)
        lengths[: len(rows)] = self.lengths[list(rows)]
        self.lengths = lengths

    def mask(self, window: int | None) -> mx.array:
        """(rows, 1, 1, extent): the token being written and those before it; within the last ``window`` if given."""
        places, last = mx.arange(self.extent)[None], self.offset[:, None]
        seen = places <= last
        if window:
            seen = seen & (places > last - window)
        seen = seen[:, None, None]
        return mx.where(seen, 0.0, -float("inf")) if self._additive else seen


class _RowKeys:
    """Keys and values (rows, heads, capacity, head size) of one layer, in mlx-lm's cache protocol."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self.keys: mx.array | None = None  # made when the first row comes
        self.values: mx.array | None = None

    @property
    def offset(self) -> mx.array:
        return self._clock.offset

    def make_mask(self, _n: int, *, return_array: bool = False, window_size: int | None = None) -> mx.array:  # noqa: ARG002
        return self._clock.mask(window_size)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        held_keys, held_values = self._held(keys, values)
        rows, offset, extent = self._clock.rows, self._clock.offset, self._clock.extent
        held_keys[rows, :, offset] = keys[:, :, 0]
        held_values[rows, :, offset] = values[:, :, 0]
        return held_keys[:, :, :extent], held_values[:, :, :extent]

    def load(self, row: int, single: Any, length: int) -> None:
        if length:
            held_keys, held_values = self._held(single.keys, single.values)
            held_keys[row, :, :length] = single.keys[0, :, :length]
            held_values[row, :, :length] = single.values[0, :, :length]

    def keep(self, index: mx.array) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[index], self.values[index]

    def _held(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """The arrays, with room for every row, of the shape of these."""
        if self.keys is None or self.values is None:
            self.keys, self.values = self._empty(keys), self._empty(values)
        more = self._clock.capacity - self.keys.shape[2]
        if more > 0:
            room = [(0, 0), (0, 0), (0, more), (0, 0)]
            self.keys, self.values = mx.pad(self.keys, room), mx.pad(self.values, room)
        return self.keys, self.values

    def _empty(self, like: mx.array) -> mx.array:
        _, heads, _, size = like.shape
        return mx.zeros((self._clock.lengths.size, heads, self._clock.capacity, size), like.dtype)


def _load_state(layer: ArraysCache, row: int, single: ArraysCache, width: int) -> None:
    for i, array in enumerate(single.cache):
        if array is None:
            continue
        if layer.cache[i] is None:
            layer.cache[i] = mx.zeros((width, *array.shape[1:]), array.dtype)
        layer.cache[i][row] = array[0]


def _arrays(layer: Any) -> list[mx.array]:
    held = layer.cache if isinstance(layer, ArraysCache) else [layer.keys, layer.values]
    return [array for array in held if array is not None]
