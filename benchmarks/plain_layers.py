"""Let a network compute as plain mlx-lm does, for benchmarks that compare with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlx_selfdebug.models import activations
from mlx_selfdebug.models.load import Model


@contextmanager
def plain_layers(model: Model) -> Iterator[None]:
    """Have the network compute with mlx-lm's own layers inside the block, without this package's activations."""
    fast = [(m, type(m)) for _, m in model.network.named_modules() if type(m).__call__ is activations._forward]
    for layer, kind in fast:
        layer.__class__ = kind.__mro__[1]
    yield
    for layer, kind in fast:
        layer.__class__ = kind
