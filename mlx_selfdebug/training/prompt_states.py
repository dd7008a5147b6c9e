"""Keep what a network's layers compute of a prompt, so that several completions go on from it within a gradient's graph.

A layer of attention leaves the keys and values of the prompt. A layer with a recurrent state (GatedDeltaNet) leaves the state after
the prompt. These classes take the place of mlx-lm's caches, which are made for decoding: nothing is written in place, so gradients
flow through them, and one prompt serves any number of rows. A row of a completion sees the prompt and itself alone, and its
positions continue after those of the prompt, as they would in a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, KVCache, make_prompt_cache

from mlx_selfdebug.models.trunk import parts_of

Arrays = list[mx.array]


class PromptStates:
    """What one layer goes on from, and what it leaves."""

    def __init__(self, given: Arrays, rows: int) -> None:
        self.given = given
        """What the layer left of the prompt, in one row; empty while the prompt itself is computed."""
        self.rows = rows
        """The number of rows that go on from it."""
        self.kept: Arrays = []
        """What the layer has left."""

    def _for_each_row(self, array: mx.array) -> mx.array:
        return mx.broadcast_to(array, (self.rows, *array.shape[1:]))


class AttentionStates(PromptStates):
    """The keys and values of a prompt, (1, key heads, length, size), in the place of mlx-lm's KVCache."""

    @property
    def offset(self) -> int:
        """The number of positions before those that are computed."""
        return self.given[0].shape[2] if self.given else 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return the keys and values that the rows attend to: those of the prompt, followed by their own."""
        self.kept = [keys, values]
        if not self.given:
            return keys, values
        before = [self._for_each_row(array) for array in self.given]
        return mx.concatenate([before[0], keys], axis=2), mx.concatenate([before[1], values], axis=2)

    def make_mask(self, *_: Any, **__: Any) -> str:
        return "causal"


class RecurrentStates(PromptStates):
    """The last inputs of the convolution and the state after a prompt, in the place of mlx-lm's ArraysCache of two."""

    lengths = None

    def __getitem__(self, i: int) -> mx.array | None:
        return self._for_each_row(self.given[i]) if self.given else None

    def __setitem__(self, i: int, array: mx.array) -> None:
        self.kept[i:] = [array]

    def advance(self, _: int) -> None:
        """Do nothing, because no row is padded at its beginning."""

    def make_mask(self, *_: Any, **__: Any) -> None:
        return None


_KINDS = {KVCache: AttentionStates, ArraysCache: RecurrentStates}


def can_share(network: nn.Module) -> bool:
    """Return whether completions can go on from one computation of their prompt in this network.

    Its trunk must be known, and every layer must keep all keys and values or a recurrent state. A layer that forgets old keys
    (sliding windows) is not supported.
    """
    return parts_of(network) is not None and all(type(cache) in _KINDS for cache in make_prompt_cache(network))


def states_of(network: nn.Module, given: Sequence[Arrays] = (), rows: int = 1) -> list[Any]:
    """Return the states of all layers: those to compute a prompt with, or ``rows`` rows that go on from the ``given`` ones."""
    kinds = [_KINDS[type(cache)] for cache in make_prompt_cache(network)]
    return [kind(arrays, rows) for kind, arrays in zip(kinds, given or [[]] * len(kinds), strict=True)]
