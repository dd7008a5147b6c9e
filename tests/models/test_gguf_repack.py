"""Exactness of each type, against the ``gguf`` package's own dequantization.

Tolerances: none for the types with one scale a block; half a unit in the last place of fp16 for each of scale and bias
for Q4_K and Q5_K; an eighth of the larger sub-scale and fp16 rounding for Q6_K.
"""

from __future__ import annotations

from mlx_selfdebug.models.backend import mx

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_repack import BITS, Packed, repack

BLOCK_BYTES = {name: gguf.GGML_QUANT_SIZES[Kind[name]][1] for name in BITS}
HALF_COLUMNS = {"Q6_K": [208], "Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2]}
WITHOUT_LOSS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
HALF_ULP, SUBNORMAL = 2.0**-11, 2.0**-25


def random_blocks(name: str, seed: int, scale: float = 0.01, blocks: int = 64) -> np.ndarray:
    """Random bytes, with fp16 numbers of about ``scale`` where the format has them: (blocks / 2, two blocks)."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (blocks, BLOCK_BYTES[name]), dtype=np.uint8)
    for column in HALF_COLUMNS.get(name, [0]):
        halves = rng.normal(0, scale, (blocks, 1)).astype(np.float16)
        raw[:, column : column + 2] = halves.view(np.uint8)
    return raw.reshape(blocks // 2, -1)


def reference(raw: np.ndarray, name: str) -> np.ndarray:
    return gguf.quants.dequantize(raw, Kind[name])


def by_mlx(packed: Packed, bits: int) -> np.ndarray:
    scales, biases = (mx.array(half).astype(mx.float32) for half in (packed.scales, packed.biases))
    return np.array(mx.dequantize(mx.array(packed.weight), scales, biases, 32, bits))


def tolerance(raw: np.ndarray, name: str, packed: Packed) -> np.ndarray:
    """The bound that the module states, per weight."""
    if name in WITHOUT_LOSS:
        return np.zeros(1)
    scales = np.abs(packed.scales.astype(np.float64)).repeat(32, axis=1)
    biases = np.abs(packed.biases.astype(np.float64)).repeat(32, axis=1)
    if name == "Q6_K":
        sub_scale = 4 * scales
        return sub_scale * (1 / 8 + 1 / 64) + 256 * SUBNORMAL
    codes = 2 ** BITS[name] - 1
    return (codes * scales + biases) * HALF_ULP * 1.01 + (codes + 1) * SUBNORMAL


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("scale", [0.01, 3e-7, 30.0])
def test_random_blocks_come_out_as_the_reference_has_them(name: str, scale: float) -> None:
    raw = random_blocks(name, seed=1, scale=scale * 0.1 if name == "Q6_K" else scale)
    if name == "Q6_K":
        raw = _without_opposite_scales(raw)
    packed = repack(raw, name, "w")
    error = np.abs(by_mlx(packed, BITS[name]) - reference(raw, name))
    assert (error <= tolerance(raw, name, packed)).all()


def _without_opposite_scales(raw: np.ndarray) -> np.ndarray:
    """Equal signs in each pair of sub-scales; the other case has a test of its own."""
    blocks = raw.reshape(-1, BLOCK_BYTES["Q6_K"]).copy()
    blocks[:, 192:208] &= 0x7F
    return blocks.reshape(raw.shape)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantized_normal_weights_come_out_bit_for_bit(name: str) -> None:
    raw = gguf.quants.quantize(np.random.default_rng(3).normal(0, 0.05, (16, 128)).astype(np.float32), Kind[name])
    assert (by_mlx(repack(raw, name, "w"), BITS[name]) == reference(raw, name)).all()


@pytest.mark.parametrize("name", BITS)
def test_all_zero_blocks_are_zero(name: str) -> None:
    raw = np.zeros((2, BLOCK_BYTES[name]), np.uint8)
    assert (by_mlx(repack(raw, name, "w"), BITS[name]) == 0).all()


def test_q6_k_keeps_the_half_with_the_larger_scale() -> None:
    raw = random_blocks("Q6_K", seed=5)
    blocks = raw.reshape(-1, 210)
    blocks[:, 192:208:2], blocks[:, 193:208:2] = 100, 60
    packed = repack(raw, "Q6_K", "w")
    got, expected = (x.reshape(-1, 2, 16) for x in (by_mlx(packed, 8), reference(raw, "Q6_K")))
    assert np.abs(got - expected)[:, 0].max() <= np.abs(expected).max() * HALF_ULP * 1.01


def test_q6_k_with_opposite_scales_is_off_by_a_quarter_of_one_at_most() -> None:
    raw = random_blocks("Q6_K", seed=6)
    packed = repack(raw, "Q6_K", "w")
    bound = np.abs(packed.scales.astype(np.float64)).repeat(32, axis=1) * 4 * (1 / 4 + 1 / 64)
    assert (np.abs(by_mlx(packed, 8) - reference(raw, "Q6_K")) <= bound + 256 * SUBNORMAL).all()


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_scale_that_is_no_number_is_refused_with_the_tensors_name(name: str, value: float) -> None:
    raw = random_blocks(name, seed=2)
    column = HALF_COLUMNS.get(name, [0])[0]
    raw[:, column : column + 2] = np.array([value], np.float16).view(np.uint8)
    with pytest.raises(FormatError, match=r"blk\.0\.x.*finite"):
        repack(raw, name, "blk.0.x")


@given(st.sampled_from(sorted(BITS)), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_finite_weights_or_are_refused(name: str, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, (2, BLOCK_BYTES[name]), dtype=np.uint8)
    try:
        packed = repack(raw, name, "w")
    except FormatError:
        return
    assert np.isfinite(by_mlx(packed, BITS[name])).all()
