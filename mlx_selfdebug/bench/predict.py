"""What a chip's published figures allow: bounds by arithmetic, not measurements.

A draft alone reads every weight once a token, so memory bandwidth bounds it:
    tokens/s <= bandwidth / bytes of the weights.
Training a LoRA adapter computes forward and backward through frozen weights, without their gradients: about 4 operations a
parameter and token, of what MLX reaches of the GPU's float rate:
    tokens/s <= 0.65 x FLOP/s / (4 x parameters).

The share of 0.65 is what was seen elsewhere on an M4 (2.5 to 2.8 TFLOP/s in MLX, where the GPU's rate is about 4.0).
Bandwidths are those Apple has published. The GPU's float32 rate is 256 operations a core and clock; the clocks are what is commonly
reported, Apple states none, and we have checked neither on a machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlx_selfdebug.machine.facts import Machine

REACHED = 0.65
OPERATIONS = 4
_PER_CORE_AND_CLOCK = 256


@dataclass(frozen=True)
class Chip:
    """``bandwidth`` in bytes/s, ``gpu_cores`` of the full chip, ``gpu_hz`` its clock."""

    name: str
    bandwidth: float
    gpu_cores: int
    gpu_hz: float

    def flops(self, gpu_cores: int | None = None) -> float:
        """float32 operations a second of the GPU, with as many cores as this machine has."""
        return (gpu_cores or self.gpu_cores) * _PER_CORE_AND_CLOCK * self.gpu_hz


_M1, _M2, _M3, _M4, _M5 = 1.278e9, 1.398e9, 1.38e9, 1.578e9, 1.62e9
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("Apple M1", 68.25e9, 8, _M1),
        Chip("Apple M1 Pro", 200e9, 16, _M1),
        Chip("Apple M1 Max", 400e9, 32, _M1),
        Chip("Apple M1 Ultra", 800e9, 64, _M1),
        Chip("Apple M2", 100e9, 10, _M2),
        Chip("Apple M2 Pro", 200e9, 19, _M2),
        Chip("Apple M2 Max", 400e9, 38, _M2),
        Chip("Apple M2 Ultra", 800e9, 76, _M2),
        Chip("Apple M3", 100e9, 10, _M3),
        Chip("Apple M3 Pro", 150e9, 18, _M3),
        Chip("Apple M3 Max", 400e9, 40, _M3),
        Chip("Apple M3 Ultra", 819e9, 80, _M3),
        Chip("Apple M4", 120e9, 10, _M4),
        Chip("Apple M4 Pro", 273e9, 20, _M4),
        Chip("Apple M4 Max", 546e9, 40, _M4),
        Chip("Apple M5", 153.6e9, 10, _M5),
    )
}


@dataclass(frozen=True)
class Prediction:
    decode_alone_tokens_per_s: float
    train_tokens_per_s: float


def predict(chip: Chip, parameters: int, weights_bytes: int, *, gpu_cores: int | None = None) -> Prediction:
    """The bounds of a model of ``parameters`` whose weights take ``weights_bytes`` in memory."""
    return Prediction(chip.bandwidth / weights_bytes, REACHED * chip.flops(gpu_cores) / (OPERATIONS * parameters))


def chip_of(machine: Machine) -> Chip | None:
    """The chip of a Mac by its name, None where it is not known."""
    name = re.sub(r"\s+", " ", machine.chip or "").strip()
    return CHIPS.get(name)
