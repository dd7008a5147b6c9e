"""Rearrange GGUF's quantized blocks into MLX's affine format: ``weight = scale * code + bias`` in groups of 32.

Both formats hold a small whole number per weight, the code, and a scale per group of weights. So most types need only be
rearranged, and only Q6_K is quantized again. This is what a tensor loses, compared with the exact values of its blocks:

- Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 lose nothing. Codes, scales and offsets carry over bit for bit.
- Q4_K and Q5_K hold a group's scale as the product ``d * scale``, and its offset as ``dmin * min``. Both products are rounded to
  fp16, so a weight is off by at most ulp(scale)/2 * code + ulp(bias)/2. This is about 5e-4 of the two terms of the weight.
- Q6_K has a scale for each 16 weights and codes of 6 bits. Two such groups become one group of 32 with codes of 8 bits. Its step is
  a quarter of s, the larger of the two scales, so the half with that scale keeps its values. A weight of the other half is off by
  at most s/8 + s/64. If both scales are equal and opposite, it may be off by s/4. (Q6_K itself is off by up to s/2.)

The result has 4, 5 or 8 bits. ``gguf_model.py`` refuses other types by name. The blocks are laid out as in llama.cpp's
``ggml-quants.c``; in the decoders below, ``d`` is a block's fp16 scale as it is called there. The tests compare the values with
what ``gguf.quants`` computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.errors import FormatError
from mlx_selfdebug.models.gguf_file import Bytes

GROUP_SIZE = 32
"""The number of weights that share a scale and a bias in the result."""
BITS = {"Q4_0": 4, "Q4_1": 4, "Q4_K": 4, "Q5_0": 5, "Q5_1": 5, "Q5_K": 5, "Q6_K": 8, "Q8_0": 8}
"""The bits per weight in MLX's format, for each GGUF type that is read."""
_ONE, _SIXTEEN, _TOP_BIT = np.uint8(1), np.uint8(16), np.uint8(0x80)
"""Numbers of one byte, with which an operation on bytes stays one on bytes."""
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Groups:
    """Decoded blocks: n groups of 32 weights, each of which is ``scale * code + bias``."""

    codes: Bytes
    """The codes, not yet packed, of shape (n, 32)."""
    scales: Floats
    """A scale per group, of shape (n,), not yet rounded to fp16."""
    biases: Floats
    """A bias per group, of shape (n,), not yet rounded to fp16."""


@dataclass(frozen=True)
class Packed:
    """The three arrays of a quantized tensor in MLX's format."""

    weight: npt.NDArray[np.uint32]
    """The packed codes, of shape (rows, columns * bits / 32)."""
    scales: Halves
    """A scale per group, of shape (rows, columns / 32)."""
    biases: Halves
    """A bias per group, of shape (rows, columns / 32)."""


def repack(raw: Bytes, type_name: str, name: str) -> Packed:
    """Convert rows of raw blocks into MLX's format.

    Args:
        raw: whole blocks as uint8, shape (rows, bytes per row).
        type_name: a key of :data:`BITS`.
        name: the name of the tensor, for the error message.

    Raises:
        FormatError: a scale is not a finite number, or does not fit fp16.
    """
    block_bytes, decode = _DECODERS[type_name]
    # Infinite and undefined scales are not reported here, but refused by _half.
    with np.errstate(over="ignore", invalid="ignore"):
        groups = decode(raw.reshape(-1, block_bytes))
    rows = raw.shape[0]
    return Packed(
        weight=_pack(groups.codes, BITS[type_name]).reshape(rows, -1),
        scales=_half(groups.scales, name).reshape(rows, -1),
        biases=_half(groups.biases, name).reshape(rows, -1),
    )


def _half(values: Floats, name: str) -> Halves:
    """Round scales or biases of the tensor ``name`` to fp16. Raises FormatError if one is not a finite number then."""
    with np.errstate(over="ignore", invalid="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        what = f"tensor {name!r} has a scale that is not a finite fp16 number"
        raise FormatError(what, hint="the file is damaged; download it again")
    return halves


def _pack(codes: Bytes, bits: int) -> npt.NDArray[np.uint32]:
    """Pack codes of shape (n, 32) into n bit streams of ``bits`` 32-bit words each.

    Code i of a stream begins at bit i * bits. The streams are little-endian.
    """
    if bits == 8:
        return np.ascontiguousarray(codes).view(np.uint32)
    if bits == 4:
        return np.ascontiguousarray(codes[:, 0::2] | codes[:, 1::2] << 4).view(np.uint32)
    # Eight codes fill exactly ``bits`` bytes. They are put together in a 64-bit integer, whose other bytes are then left out.
    eights = codes.reshape(-1, 4, 8)
    stream = np.zeros(eights.shape[:2], np.uint64)
    for i in range(8):
        stream |= eights[:, :, i].astype(np.uint64) << np.uint64(bits * i)
    packed = stream.view(np.uint8).reshape(-1, 4, 8)[:, :, :bits]
    return np.ascontiguousarray(packed).reshape(-1, 4 * bits).view(np.uint32)


def _floats(blocks: Bytes, column: int) -> Floats:
    """Return the fp16 number that begins at byte ``column`` of every block, as float32 of shape (n,)."""
    halves = np.ascontiguousarray(blocks[:, column : column + 2]).view(np.float16)
    return halves[:, 0].astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """Return (n, 32) codes from (n, 16) bytes: all the low nibbles, then all the high ones."""
    return np.concatenate([packed & 0xF, packed >> 4], axis=1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Return the fifth bits of (n, 32) codes, in their place within the codes, from (n, 4) bytes."""
    return np.unpackbits(packed, axis=1, bitorder="little") * _SIXTEEN


# The decoders of the types with blocks of 32 weights. In the types that end in _0, a weight is ``d * (code - middle)``, where the
# middle is 8, 16 or 128. So the bias is ``-d * middle``. In those that end in _1, the block holds the bias itself.


def _q4_0(blocks: Bytes) -> Groups:
    d = _floats(blocks, 0)
    return Groups(_nibbles(blocks[:, 2:18]), d, -8 * d)


def _q4_1(blocks: Bytes) -> Groups:
    return Groups(_nibbles(blocks[:, 4:20]), _floats(blocks, 0), _floats(blocks, 2))


def _q5_0(blocks: Bytes) -> Groups:
    d = _floats(blocks, 0)
    return Groups(_nibbles(blocks[:, 6:22]) | _fifth_bits(blocks[:, 2:6]), d, -16 * d)


def _q5_1(blocks: Bytes) -> Groups:
    codes = _nibbles(blocks[:, 8:24]) | _fifth_bits(blocks[:, 4:8])
    return Groups(codes, _floats(blocks, 0), _floats(blocks, 2))


def _q8_0(blocks: Bytes) -> Groups:
    d = _floats(blocks, 0)
    # The codes are signed bytes. Flipping the top bit adds 128, which makes them unsigned.
    return Groups(blocks[:, 2:34] ^ _TOP_BIT, d, -128 * d)


# The decoders of the K types, which have blocks of 256 weights: eight groups of 32, or sixteen groups of 16 in Q6_K.


def _k_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Return eight 6-bit scales and eight 6-bit minima from the 12 bytes of each block: shape (n, 8) each.

    The first four of each have their bits in one byte. The other four have their low bits in a nibble of the last four bytes and
    their two high bits at the top of the bytes of the first four.
    """
    low, mid, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 0x3F, (high & 0xF) | (low >> 2 & 0x30)], axis=1)
    minima = np.concatenate([mid & 0x3F, (high >> 4) | (mid >> 2 & 0x30)], axis=1)
    return scales, minima


def _k_groups(blocks: Bytes, codes: Bytes) -> Groups:
    """Return the groups of Q4_K or Q5_K blocks with these ``codes``. A weight is ``d * scale * code - d_min * minimum``."""
    scales, minima = _k_scales(blocks[:, 4:16])
    d, d_min = _floats(blocks, 0)[:, None], _floats(blocks, 2)[:, None]
    return Groups(codes.reshape(-1, GROUP_SIZE), (d * scales).ravel(), (-d_min * minima).ravel())


def _k_nibbles(packed: Bytes) -> Bytes:
    """Return (n, 8, 32) codes from (n, 128) bytes.

    Each 32 bytes hold one group in their low nibbles and the next group in their high nibbles.
    """
    pairs = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([pairs & 0xF, pairs >> 4], axis=2).reshape(-1, 8, 32)


def _q4_k(blocks: Bytes) -> Groups:
    return _k_groups(blocks, _k_nibbles(blocks[:, 16:144]))


def _q5_k(blocks: Bytes) -> Groups:
    # Bit g of byte i is the fifth bit of code i of group g.
    group_numbers = np.arange(8, dtype=np.uint8)[None, :, None]
    fifth_bits = (blocks[:, None, 16:48] >> group_numbers & _ONE) * _SIXTEEN
    return _k_groups(blocks, _k_nibbles(blocks[:, 48:176]) | fifth_bits)


def _q6_k(blocks: Bytes) -> Groups:
    """Quantize Q6_K blocks again, to 8 bits: the scales of 16 weights each become one scale per 32 weights."""
    scales = _q6_k_scales(blocks)
    values = _q6_k_codes(blocks) * scales[:, :, None]
    larger = np.abs(scales).argmax(axis=1)[:, None]
    # The step keeps the sign of the larger scale, because ggml lets code -32 stand for the largest weight of either sign.
    step = (np.take_along_axis(scales, larger, axis=1) / 4).astype(np.float16).astype(np.float32)
    codes = np.rint(values.reshape(-1, GROUP_SIZE) / np.where(step == 0, 1, step)) + 128
    # Codes that are not numbers come from scales that are not finite, which _half refuses.
    return Groups(np.nan_to_num(codes).clip(0, 255).astype(np.uint8), step[:, 0], -128 * step[:, 0])


def _q6_k_scales(blocks: Bytes) -> Floats:
    """Return the scales of the two halves of each group of 32, of shape (groups, 2)."""
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    return (scales * _floats(blocks, 208)[:, None]).reshape(-1, 2)


def _q6_k_codes(blocks: Bytes) -> Floats:
    """Return the codes, from -32 to 31, of the two halves of each group, of shape (groups, 2, 16).

    The low four bits of two codes share a byte, and so do the high two bits of four codes.
    """
    pairs = blocks[:, 0:128].reshape(-1, 2, 1, 64)
    low = np.concatenate([pairs & 0xF, pairs >> 4], axis=2).reshape(-1, 8, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3).reshape(-1, 8, 32)
    codes: Floats = (low | high << 4).astype(np.float32) - 32
    return codes.reshape(-1, 2, 16)


_DECODERS: dict[str, tuple[int, Callable[[Bytes], Groups]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
"""The bytes per block and the function that decodes blocks, for each GGUF type that is read."""
