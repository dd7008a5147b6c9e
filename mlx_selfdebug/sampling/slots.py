"""Hold the caches of a decode batch: a fixed number of rows, each with its own length, which are taken and freed one by one.

The keys and values of a row are stored at its own positions, from 0 on. A row may therefore come or go without any other row being
copied, and what a row computes does not depend on the lengths of the others. Layers with a recurrent state (mlx-lm's
``ArraysCache``) keep one state per row.

    slots.load(2, caches_of_prompt, length)                  # row 2 is taken
    slots.begin_step()                                       # a step takes one token of every row
    network(tokens[:, None], cache=slots.layers)
    slots.end_step([2])

A step may also take several consecutive tokens of a single row. This is called a run. The network computes each of these tokens as
if it were the only token of another row, but all of them look at the keys of the single row. A token of a run is undone by not
making the row longer, because nothing looks at the positions after the end of a row.
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
"""Attention looks at a number of positions that is a multiple of this one.

So few different shapes occur, and the order in which attention adds up does not depend on the longest row.
"""
CAPACITY_STEP = 256
"""The arrays have room for a number of tokens in each row that is a multiple of this one."""


class Slots:
    """The caches of ``width`` rows. In a step, either each row takes one token, or a single row takes several.

    With ``additive_mask``, the attention mask holds float32 numbers to add instead of booleans, because on the CPU a choice takes
    longer than an addition. Raises ModelError for a network whose cache cannot be kept by row.
    """

    def __init__(self, network: nn.Module, width: int, *, additive_mask: bool) -> None:
        self.layers: list[Any] = []
        """The cache of each layer, as the network takes them."""
        self._positions = _Positions(width, additive_mask=additive_mask)
        for cache in make_prompt_cache(network):
            if type(cache) in (KVCache, RotatingKVCache):
                self.layers.append(_RowKeys(self._positions))
            elif type(cache) is ArraysCache:
                self.layers.append(ArraysCache(len(cache.cache)))
            else:
                raise ModelError(f"a model whose cache is a {type(cache).__name__} cannot be decoded in a batch")

    @property
    def width(self) -> int:
        """The number of rows, idle rows included."""
        return self._positions.lengths.size

    @property
    def state(self) -> list[mx.array]:
        """All arrays that are held, to be evaluated together with the step that made them."""
        return [array for layer in self.layers for array in _arrays(layer)]

    @property
    def can_take_runs(self) -> bool:
        """Whether a row can take several tokens in a step. It cannot if a layer has a recurrent state, which cannot be undone."""
        return all(isinstance(layer, _RowKeys) for layer in self.layers)

    def load(self, row: int, prefix: Sequence[Any], length: int) -> None:
        """Fill ``row`` with the first ``length`` tokens of ``prefix``, which holds mlx-lm's cache of one row for each layer.

        The states of recurrent layers are copied as a whole, so they must be those after ``length`` tokens.
        """
        self._positions.lengths[row] = length
        self._positions.make_room(length + 1)
        for layer, cache in zip(self.layers, prefix, strict=True):
            if isinstance(layer, _RowKeys):
                layer.load(row, cache, length)
            else:
                _load_state(layer, row, cache, self.width)
        mx.eval(self.state)

    def clear(self, row: int) -> None:
        """Make ``row`` idle."""
        self._positions.lengths[row] = 0

    def begin_step(self) -> None:
        """Begin a step that takes one token of every row."""
        self._positions.begin_step()

    def end_step(self, rows: Sequence[int]) -> None:
        """Make the given rows one token longer. All other rows are idle.

        The step has written to the first position of each idle row as well, but this position is never read.
        """
        self._positions.lengths[list(rows)] += 1

    def begin_run(self, row: int, n_tokens: int, n_idle: int) -> None:
        """Begin a step that takes ``n_tokens`` tokens of ``row``, and after them ``n_idle`` tokens whose output is not used.

        The idle tokens give the step a shape for which the kernels are fast. They are written to another row. Raises ValueError if
        there are idle tokens, but no other row.
        """
        if n_idle and self.width == 1:
            raise ValueError("with a single row, there is no place for tokens whose output is not used")
        self._positions.begin_run(row, n_tokens, n_idle)

    def end_run(self, row: int, n_kept: int) -> None:
        """Make ``row`` longer by the first ``n_kept`` tokens of the run. The other tokens are undone."""
        self._positions.lengths[row] += n_kept

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Make these rows, in this order, the first of ``width`` rows. The other rows become idle."""
        self._positions.keep(rows, width)
        index = mx.array([*rows, *([0] * (width - len(rows)))])
        for layer in self.layers:
            if isinstance(layer, _RowKeys):
                layer.keep(index)
            else:
                layer.cache = [None if array is None else array[index] for array in layer.cache]
            # Each layer is evaluated by itself, so that the copies of all layers are never in memory together.
            mx.eval(_arrays(layer))


class _Positions:
    """The lengths of all rows, and where the tokens of the current step are written. All layers share one such object."""

    def __init__(self, width: int, *, additive_mask: bool) -> None:
        self.lengths = np.zeros(width, np.int32)
        self.capacity = 0
        """The number of tokens that the arrays have room for in each row."""
        self.extent = 0
        """The number of positions, from 0 on, that attention looks at in the current step."""
        self.run_row: int | None = None
        """The row whose keys all tokens of the step look at, or None if each token looks at the keys of its own row."""
        self.rows: mx.array
        """The row to which each token of the current step is written."""
        self.offset: mx.array
        """The position in this row to which it is written."""
        self._additive_mask = additive_mask

    def make_room(self, n_tokens: int) -> None:
        """Raise the capacity to at least ``n_tokens``. The arrays grow when they are used next."""
        if n_tokens > self.capacity:
            self.capacity = -(-n_tokens // CAPACITY_STEP) * CAPACITY_STEP

    def begin_step(self) -> None:
        """Place one token of each row at the end of the row."""
        self._begin(np.arange(self.lengths.size), self.lengths)
        self.run_row = None

    def begin_run(self, row: int, n_tokens: int, n_idle: int) -> None:
        """Place ``n_tokens`` tokens at the end of ``row``, and ``n_idle`` tokens where nothing reads them."""
        rows, offset = np.full(n_tokens + n_idle, row), np.zeros(n_tokens + n_idle, np.int32)
        offset[:n_tokens] = self.lengths[row] + np.arange(n_tokens)
        # Tokens whose output is not used are written to the first position of another row, which is idle.
        rows[n_tokens:] = 1 if row == 0 else 0
        self._begin(rows, offset)
        self.run_row = row

    def _begin(self, rows: npt.NDArray[np.int64], offset: npt.NDArray[np.int32]) -> None:
        """Begin a step whose tokens are written to ``rows`` at the positions ``offset``."""
        max_length = int(offset.max()) + 1
        self.make_room(max_length)
        self.extent = min(-(-max_length // EXTENT_STEP) * EXTENT_STEP, self.capacity)
        self.rows, self.offset = mx.array(rows), mx.array(offset)

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Make these rows, in this order, the first of ``width`` rows. The other rows become idle."""
        lengths = np.zeros(width, np.int32)
        lengths[: len(rows)] = self.lengths[list(rows)]
        self.lengths = lengths

    def mask(self, window: int | None) -> mx.array:
        """Return the attention mask, of shape (tokens, 1, 1, extent), for the tokens of the current step.

        A token sees itself and the tokens before it, or only the last ``window`` of these if that is given.
        """
        positions, last = mx.arange(self.extent)[None], self.offset[:, None]
        is_seen = positions <= last
        if window:
            is_seen = is_seen & (positions > last - window)
        is_seen = is_seen[:, None, None]
        return mx.where(is_seen, 0.0, -float("inf")) if self._additive_mask else is_seen


class _RowKeys:
    """The keys and values of one layer, of shape (rows, heads, capacity, head size), in mlx-lm's cache protocol."""

    def __init__(self, positions: _Positions) -> None:
        self._positions = positions
        # The arrays are made when the first row comes, which shows their shape and dtype.
        self.keys: mx.array | None = None
        self.values: mx.array | None = None

    @property
    def offset(self) -> mx.array:
        """The position of each token of the step, for the rotary embedding."""
        return self._positions.offset

    def make_mask(self, _n: int, *, return_array: bool = False, window_size: int | None = None) -> mx.array:  # noqa: ARG002
        """Return the attention mask of the step, for a sliding window of ``window_size`` tokens if that is given."""
        return self._positions.mask(window_size)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write the keys and values of the step's tokens, and return those that each token may look at."""
        all_keys, all_values = self._arrays(keys, values)
        positions = self._positions
        rows, offset = positions.rows, positions.offset
        all_keys[rows, :, offset] = keys[:, :, 0]
        all_values[rows, :, offset] = values[:, :, 0]
        if positions.run_row is None:
            return all_keys[:, :, : positions.extent], all_values[:, :, : positions.extent]
        return self._repeated(all_keys, positions.run_row), self._repeated(all_values, positions.run_row)

    def _repeated(self, array: mx.array, row: int) -> mx.array:
        """Return a view of ``row`` of ``array`` for each token of the step. Nothing is copied."""
        view = array[row : row + 1, :, : self._positions.extent]
        return mx.broadcast_to(view, (self._positions.rows.size, *view.shape[1:]))

    def load(self, row: int, cache: KVCache, length: int) -> None:
        """Copy the first ``length`` positions of ``cache``, which holds a single row, to ``row``."""
        if length:
            all_keys, all_values = self._arrays(cache.keys, cache.values)
            all_keys[row, :, :length] = cache.keys[0, :, :length]
            all_values[row, :, :length] = cache.values[0, :, :length]

    def keep(self, index: mx.array) -> None:
        """Replace the rows by those with the numbers ``index``."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[index], self.values[index]

    def _arrays(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return the arrays of all rows, with room for the capacity.

        If they do not exist yet, they are made with the heads, the head size and the dtype of ``keys`` and ``values``.
        """
        if self.keys is None or self.values is None:
            self.keys, self.values = self._empty(keys), self._empty(values)
        missing = self._positions.capacity - self.keys.shape[2]
        if missing > 0:
            padding = [(0, 0), (0, 0), (0, missing), (0, 0)]
            self.keys, self.values = mx.pad(self.keys, padding), mx.pad(self.values, padding)
        return self.keys, self.values

    def _empty(self, like: mx.array) -> mx.array:
        """Return zeros for all rows, with the heads, the head size and the dtype of ``like``."""
        _, heads, _, size = like.shape
        return mx.zeros((self._positions.lengths.size, heads, self._positions.capacity, size), like.dtype)


def _load_state(layer: ArraysCache, row: int, prefix: ArraysCache, width: int) -> None:
    """Copy the recurrent state in ``prefix``, which holds a single row, to ``row`` of ``layer``, which has ``width`` rows.

    A prefix without tokens has no state. The network begins with zeros then.
    """
    for i, array in enumerate(prefix.cache):
        if layer.cache[i] is None and array is not None:
            layer.cache[i] = mx.zeros((width, *array.shape[1:]), array.dtype)
        if layer.cache[i] is not None:
            layer.cache[i][row] = 0 if array is None else array[0]


def _arrays(layer: Any) -> list[mx.array]:
    """Return the arrays that the cache of a layer holds."""
    arrays = layer.cache if isinstance(layer, ArraysCache) else [layer.keys, layer.values]
    return [array for array in arrays if array is not None]
