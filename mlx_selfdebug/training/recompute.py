"""Have layers keep only their input for the backward pass and compute the rest again. It takes less memory and a third more time.

Only the given layers are changed, and only inside the block. mlx-lm's own switch for this changes the layers' class for the rest of
the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx_selfdebug.training.prompt_states import Arrays, PromptStates


@contextmanager
def recomputed(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Have ``layers`` recompute inside the block.

    Python looks ``__call__`` up in the class of an object and not in the object. So each layer gets a class of its own meanwhile.
    """
    layers = list(layers)
    kinds = [type(layer) for layer in layers]
    for layer, kind in zip(layers, kinds, strict=True):
        # The name of the module is kept, because attention and recurrences are replaced by it (``models/attention.py``).
        layer.__class__ = type(kind.__name__, (kind,), {"__call__": _recomputing(kind), "__module__": kind.__module__})
    try:
        yield
    finally:
        for layer, kind in zip(layers, kinds, strict=True):
            layer.__class__ = kind


def _recomputing(kind: Any) -> Any:
    """Return a ``__call__`` that computes what that of the class ``kind`` computes, and computes it again in the backward pass."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The states of a prompt must be arguments and results of the recomputed function, or they get no gradient. So must the
        # trainable parameters.
        states = [value for value in (*args, *kwargs.values()) if isinstance(value, PromptStates)]

        def inner(parameters: Any, given: list[Arrays], *args: Any, **kwargs: Any) -> Any:
            self.update(parameters)
            for state, arrays in zip(states, given, strict=True):
                state.given = arrays
            out = kind.__call__(self, *args, **kwargs)
            return out, [state.kept for state in states]

        given = [state.given for state in states]
        out, kept = mx.checkpoint(inner)(self.trainable_parameters(), given, *args, **kwargs)
        # Inside the recomputed function they were traced stand-ins.
        for state, given_arrays, kept_arrays in zip(states, given, kept, strict=True):
            state.given, state.kept = given_arrays, kept_arrays
        return out

    return call
