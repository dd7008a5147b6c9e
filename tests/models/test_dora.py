from __future__ import annotations

from mlx_selfdebug.models.backend import mx, nn

import pytest
from mlx_lm.tuner.dora import DoRALinear

from mlx_selfdebug.models.dora import any_bits


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 8])
def test_a_quantized_layer_of_any_bits_gets_matrices_that_fit(bits: int) -> None:
    quantized = nn.QuantizedLinear(96, 32, bias=True, group_size=32, bits=bits)
    x = mx.random.normal((4, 96))
    with any_bits():
        layer = DoRALinear.from_base(quantized, r=4)
    assert (layer.lora_a.shape, layer.lora_b.shape, layer.m.shape) == ((96, 4), (4, 32), (32,))
    assert mx.allclose(layer(x), quantized(x), atol=1e-3)


def test_mlx_lms_own_function_is_back_afterwards() -> None:
    before = DoRALinear.from_base
    with any_bits():
        assert DoRALinear.from_base is not before
    assert DoRALinear.from_base is before
