"""Let mlx-lm put layers of DoRA around quantized layers of any number of bits.

mlx-lm's own function takes the weights that fit into a 32-bit word to be a whole number, which they are not for 3, 5 and 6
bits, and makes matrices of the wrong shape for such a layer. Most layers of the default model have 5 bits where it comes from
a GGUF file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlx_selfdebug.models.backend import nn

from mlx_lm.tuner.dora import DoRALinear

from mlx_selfdebug.models.binding import bound


@contextmanager
def any_bits() -> Iterator[None]:
    """Have mlx-lm make DoRA layers of the right shape, whatever the number of bits, inside the ``with`` block."""
    with bound(DoRALinear, "from_base", staticmethod(_from_base)):
        yield


def _from_base(linear: nn.Module, r: int = 8, dropout: float = 0.0, scale: float = 20.0) -> nn.Module:
    """Return a layer of DoRA around ``linear``. The function in mlx-lm has the same parameters."""
    outputs, columns = linear.weight.shape
    inputs = columns * 32 // linear.bits if isinstance(linear, nn.QuantizedLinear) else columns
    layer = DoRALinear(inputs, outputs, r, dropout, scale)
    layer.set_linear(linear)
    return layer
