"""Have layers keep only their input for the backward pass and compute the rest again: less memory, but a third more time.

Only the given layers are changed, and only inside the block. mlx-lm's own switch for this changes the layers' class for the rest of
the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlx_selfdebug.models.backend import mx, nn


@contextmanager
def recomputed(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Have ``layers`` recompute inside the block."""
    layers = list(layers)
    kinds = [type(layer) for layer in layers]
    for layer, kind in zip(layers, kinds, strict=True):
        layer.__class__ = type(kind.__name__, (kind,), {"__call__": _recomputing(kind), "__module__": kind.__module__})
    try:
        yield
    finally:
        for layer, kind in zip(layers, kinds, strict=True):
            layer.__class__ = kind


def _recomputing(kind: Any) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        def inner(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            self.update(parameters)
            return kind.__call__(self, *args, **kwargs)

        return mx.checkpoint(inner)(self.trainable_parameters(), *args, **kwargs)

    return call
