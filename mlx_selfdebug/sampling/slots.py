"""Hold the caches of a decode batch: a fixed number of rows, each with its own length, taken and given back one by one.

The keys and values of a row lie at their own positions from 0 on. A row may therefore come or go without the others being copied,
and what a row computes does not depend on how long the others are. Layers with a recurrent state (mlx-lm's ``ArraysCache``) keep
one state per row.

A step may also take several tokens of a single row, at positions that follow each other. They are computed like as many rows with
one token each, all of which look at the keys of that row. The row can be given back to what it was before any of these tokens by
not making it longer, because what lies after a row's end is never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache, make_prompt_cache

from mlx_selfdebug.errors import ModelError

EXTENT_STEP = 32
"""Attention looks at lengths rounded up to a multiple of this.

So there are few shapes, and the order of its sums does not depend on the longest row.
"""
CAPACITY_STEP = 256
"""There is room for a multiple of this many tokens in each row."""


class Slots:
    """The caches of ``width`` rows, each of which takes one new token per step, or one of which takes several.

    ``layers`` is what the network takes as its cache. With ``additive_mask``, the attention mask holds float32 numbers to add
    instead of booleans, because on the CPU a choice takes longer than an addition. Raises ModelError for a network whose cache
    cannot be kept by row.
    """

    def __init__(self, network: nn.Module, width: int, *, additive_mask: bool) -> None:
        self.clock = _Clock(width, additive_mask=additive_mask)
        self.layers: list[Any] = [self._layer(cache) for cache in make_prompt_cache(network)]

    @property
    def width(self) -> int:
        return self.clock.lengths.size

    @property
    def state(self) -> list[mx.array]:
        """All arrays that are held, to be evaluated together with the step that made them."""
        return [array for layer in self.layers for array in _arrays(layer)]

    @property
    def take_runs(self) -> bool:
        """Whether a row can take several tokens in a step. A recurrent state could not be given back to what it was before."""
        return all(isinstance(layer, _RowKeys) for layer in self.layers)

    def load(self, row: int, prefix: Sequence[Any], length: int) -> None:
        """Fill ``row`` with the first ``length`` tokens of ``prefix``, which are caches of one row, one cache per layer.

        The states of recurrent layers are copied as a whole.
        """
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

    def begin_run(self, row: int, n_tokens: int, n_idle: int) -> None:
        """Begin a step that takes ``n_tokens`` tokens of ``row``, and ``n_idle`` after them that nobody looks at.

        Raises ValueError if there are tokens that nobody looks at and no other row to write them to.
        """
        if n_idle and self.width == 1:
            raise ValueError("with a single row, there is no place for tokens that nobody looks at")
        self.clock.begin_run(row, n_tokens, n_idle)

    def end_run(self, row: int, n_kept: int) -> None:
        """Make ``row`` longer by the first ``n_kept`` of the tokens that it took. The others are as if they had never been."""
        self.clock.lengths[row] += n_kept

    def end_step(self, rows: Sequence[int]) -> None:
        """Make the given rows one token longer.

        The step also wrote to the first position of every idle row, which nobody reads.
        """
        self.clock.lengths[list(rows)] += 1

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Keep these rows, in this order, as the first of ``width`` rows."""
        self.clock.keep(rows, width)
        index = mx.array([*rows, *([0] * (width - len(rows)))])
        for layer in self.layers:
            if isinstance(layer, _RowKeys):
                layer.keep(index)
            else:
                layer.cache = [None if array is None else array[index] for array in layer.cache]
            # Each layer is evaluated by itself, so that the copies of all layers are never in memory together.
            mx.eval(_arrays(layer))

    def _layer(self, cache: Any) -> Any:
        if type(cache) in (KVCache, RotatingKVCache):
            return _RowKeys(self.clock)
        if type(cache) is ArraysCache:
            return ArraysCache(len(cache.cache))
        raise ModelError(f"a model whose cache is a {type(cache).__name__} cannot be decoded in a batch")


class _Clock:
    """The lengths of all rows, which all layers share, on the host, and what a step needs of them on the device."""

    def __init__(self, width: int, *, additive_mask: bool) -> None:
        self.lengths = np.zeros(width, np.int32)
        self.capacity = 0
        self.extent = 0
        self.shared: int | None = None
        """The row whose keys all tokens of the step look at, or None if each looks at those of its own row."""
        self._additive = additive_mask

    def make_room(self, tokens: int) -> None:
        if tokens > self.capacity:
            self.capacity = -(-tokens // CAPACITY_STEP) * CAPACITY_STEP

    def begin_step(self) -> None:
        self._begin(np.arange(self.lengths.size), self.lengths)
        self.shared = None

    def begin_run(self, row: int, n_tokens: int, n_idle: int) -> None:
        rows, offset = np.full(n_tokens + n_idle, row), np.zeros(n_tokens + n_idle, np.int32)
        offset[:n_tokens] = self.lengths[row] + np.arange(n_tokens)
        # What nobody looks at is written to the first position of another row, which is idle.
        rows[n_tokens:] = 1 if row == 0 else 0
        self._begin(rows, offset)
        self.shared = row

    def _begin(self, rows: npt.NDArray[np.int64], offset: npt.NDArray[np.int32]) -> None:
        """Begin a step whose tokens are written to ``rows`` at the positions ``offset``."""
        longest = int(offset.max()) + 1
        self.make_room(longest)
        self.extent = min(-(-longest // EXTENT_STEP) * EXTENT_STEP, self.capacity)
        self.rows, self.offset = mx.array(rows), mx.array(offset)

    def keep(self, rows: Sequence[int], width: int) -> None:
        lengths = np.zeros(width, np.int32)
        lengths[: len(rows)] = self.lengths[list(rows)]
        self.lengths = lengths

    def mask(self, window: int | None) -> mx.array:
        """Return the attention mask (tokens, 1, 1, extent), with one token per row, or several tokens of one row.

        A token sees itself and those before it, or only the last ``window`` of these if that is given.
        """
        places, last = mx.arange(self.extent)[None], self.offset[:, None]
        seen = places <= last
        if window:
            seen = seen & (places > last - window)
        seen = seen[:, None, None]
        return mx.where(seen, 0.0, -float("inf")) if self._additive else seen


class _RowKeys:
    """The keys and values (rows, heads, capacity, head size) of one layer, in mlx-lm's cache protocol."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        # The arrays are made when the first row comes, which shows their shape and dtype.
        self.keys: mx.array | None = None
        self.values: mx.array | None = None

    @property
    def offset(self) -> mx.array:
        return self._clock.offset

    def make_mask(self, _n: int, *, return_array: bool = False, window_size: int | None = None) -> mx.array:  # noqa: ARG002
        return self._clock.mask(window_size)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        held_keys, held_values = self._held(keys, values)
        clock = self._clock
        rows, offset = clock.rows, clock.offset
        held_keys[rows, :, offset] = keys[:, :, 0]
        held_values[rows, :, offset] = values[:, :, 0]
        if clock.shared is None:
            return held_keys[:, :, : clock.extent], held_values[:, :, : clock.extent]
        n, row = rows.size, clock.shared
        return self._shared(held_keys, row, n), self._shared(held_values, row, n)

    def _shared(self, held: mx.array, row: int, n: int) -> mx.array:
        """Return ``n`` views of what is ``held`` of ``row``. Nothing is copied."""
        one = held[row : row + 1, :, : self._clock.extent]
        return mx.broadcast_to(one, (n, *one.shape[1:]))

    def load(self, row: int, single: Any, length: int) -> None:
        if length:
            held_keys, held_values = self._held(single.keys, single.values)
            held_keys[row, :, :length] = single.keys[0, :, :length]
            held_values[row, :, :length] = single.values[0, :, :length]

    def keep(self, index: mx.array) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[index], self.values[index]

    def _held(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return the arrays with room for every row; heads, head size and dtype are those of ``keys`` and ``values``."""
        if self.keys is None or self.values is None:
            self.keys, self.values = self._empty(keys), self._empty(values)
        missing = self._clock.capacity - self.keys.shape[2]
        if missing > 0:
            room = [(0, 0), (0, 0), (0, missing), (0, 0)]
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
