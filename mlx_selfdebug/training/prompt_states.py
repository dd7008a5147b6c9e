"""Keep what a network's layers compute of a prompt, so that several completions can go on from it and gradients flow back into it.

    prompt_states = states_of(network)
    trunk(prompt_ids, cache=prompt_states)                         # computes the prompt once
    given = [state.kept for state in prompt_states]
    trunk(completion_ids, cache=states_of(network, given, rows=8))  # eight completions go on from it

A layer of attention keeps the keys and values of the prompt. A layer with a recurrent state (GatedDeltaNet) keeps the state after
the prompt. The classes take the place of mlx-lm's caches, which are made for decoding and written in place. Nothing is written in
place here, so gradients flow through the states, and one prompt serves any number of rows.

A row of a completion sees only the prompt and itself. Its positions continue after those of the prompt, as they would if prompt and
completion were one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_lm.models.cache import ArraysCache, KVCache, make_prompt_cache

from mlx_selfdebug.models.trunk import parts_of

Arrays = list[mx.array]
"""What one layer keeps of a prompt: keys and values, or the last inputs of the convolution and the recurrent state."""


class PromptStates:
    """The states of one layer: the given states of the prompt, from which the rows go on, and the states that it computes."""

    def __init__(self, given: Arrays, rows: int) -> None:
        self.given = given
        """The states of the prompt, in one row; empty while the prompt itself is computed."""
        self.rows = rows
        """The number of rows that go on from the prompt."""
        self.kept: Arrays = []
        """The states that the layer has computed from its own tokens."""

    def _for_each_row(self, array: mx.array) -> mx.array:
        """Return ``array``, which has one row, as if it had a row for each completion. Nothing is copied."""
        return mx.broadcast_to(array, (self.rows, *array.shape[1:]))


class AttentionStates(PromptStates):
    """The keys and values of a prompt, each (1, key heads, length, size), in the place of mlx-lm's ``KVCache``."""

    @property
    def offset(self) -> int:
        """The number of positions before the first token that is computed, from which mlx-lm counts positions."""
        return self.given[0].shape[2] if self.given else 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return the keys and values that the rows attend to: the prompt's, followed by their own."""
        self.kept = [keys, values]
        if not self.given:
            return keys, values
        before = [self._for_each_row(array) for array in self.given]
        return mx.concatenate([before[0], keys], axis=2), mx.concatenate([before[1], values], axis=2)

    def make_mask(self, *_: Any, **__: Any) -> str:
        """Return the name by which mlx-lm's layers call for causal attention."""
        return "causal"


class RecurrentStates(PromptStates):
    """The last inputs of the convolution and the state after a prompt, in the place of mlx-lm's ``ArraysCache`` of two arrays."""

    lengths = None
    """mlx-lm's name for the lengths of padded rows. None says that no row is padded."""

    def __getitem__(self, i: int) -> mx.array | None:
        """Return state ``i`` of the prompt for each row, or None while the prompt itself is computed."""
        return self._for_each_row(self.given[i]) if self.given else None

    def __setitem__(self, i: int, array: mx.array) -> None:
        """Keep state ``i`` that the layer has computed. mlx-lm's layers set the states in order."""
        self.kept[i:] = [array]

    def advance(self, _: int) -> None:
        """Do nothing, because no row is padded at its beginning."""

    def make_mask(self, *_: Any, **__: Any) -> None:
        """Return None, which is no mask, because no row is padded."""


_KINDS = {KVCache: AttentionStates, ArraysCache: RecurrentStates}
"""The class that takes the place of each of mlx-lm's caches."""


def can_share(network: nn.Module) -> bool:
    """Return whether completions can go on from one computation of their prompt in this network.

    Its trunk must be known, and every layer must keep all keys and values or a recurrent state. A layer that forgets old keys
    (sliding windows) is not supported.
    """
    return parts_of(network) is not None and all(type(cache) in _KINDS for cache in make_prompt_cache(network))


def states_of(network: nn.Module, given: Sequence[Arrays] = (), rows: int = 1) -> list[Any]:
    """Return the states to pass to the trunk as its cache, one per layer.

    Without ``given``, the tokens of a prompt are computed. With ``given``, which is what each layer kept of a prompt, ``rows`` rows
    go on from the prompt.
    """
    kinds = [_KINDS[type(cache)] for cache in make_prompt_cache(network)]
    return [kind(arrays, rows) for kind, arrays in zip(kinds, given or [[]] * len(kinds), strict=True)]
