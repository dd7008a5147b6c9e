"""Compute the highest speed to expect of a chip from its published figures. This is arithmetic, not a measurement.

A draft that is decoded alone reads every weight once per token, so the memory bandwidth bounds its speed:

    tokens/s <= bandwidth / bytes of the weights

Training a LoRA adapter computes forward and backward through frozen weights, without the gradients of these weights. This takes
about 4 operations per parameter and token. MLX is assumed to reach 65 % of the GPU's float32 rate, so the result is an estimate,
not a bound:

    tokens/s ~ 0.65 x FLOP/s / (4 x parameters)

Where the figures come from:

- The share of 0.65 was reported by others for an M4: 2.5 to 2.8 TFLOP/s in MLX, where the GPU's rate is about 4.0.
- The bandwidths are those that Apple has published.
- The GPU's rate is 256 float32 operations per core and clock cycle. Apple states no clocks. These are the commonly reported ones.

We have not checked any of these figures on a machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlx_selfdebug.machine.this_machine import Machine

ASSUMED_GPU_SHARE = 0.65
"""The share of the GPU's float32 rate that training is assumed to reach in MLX."""
OPERATIONS_PER_PARAMETER = 4
"""The operations of training per parameter and token."""
_OPERATIONS_PER_CYCLE = 256
"""The float32 operations per GPU core and clock cycle."""


@dataclass(frozen=True)
class Chip:
    """The published and reported figures of a chip."""

    name: str
    bandwidth_bytes_per_s: float
    """The memory bandwidth."""
    gpu_cores: int
    """The number of GPU cores of the full chip. Some machines have fewer."""
    gpu_hz: float
    """The clock of the GPU in cycles per second."""

    def flops(self, gpu_cores: int | None = None) -> float:
        """Return the float32 operations per second of a GPU with ``gpu_cores`` cores, by default those of the full chip."""
        return (gpu_cores or self.gpu_cores) * _OPERATIONS_PER_CYCLE * self.gpu_hz


_M1, _M2, _M3, _M4, _M5 = 1.278e9, 1.398e9, 1.38e9, 1.578e9, 1.62e9
"""The clocks of the GPUs of each generation, in cycles per second."""
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
    """The highest speeds to expect. They are not measured."""

    decode_alone_tokens_per_s: float
    """The upper bound for a draft that is decoded alone."""
    train_tokens_per_s: float
    """The estimate for training a LoRA adapter."""


def predict(chip: Chip, parameters: int, weights_bytes: int, *, gpu_cores: int | None = None) -> Prediction:
    """Return the highest speeds to expect of a model on a chip.

    Args:
        chip: the figures of the chip.
        parameters: the number of the model's parameters.
        weights_bytes: the bytes of memory that the weights take.
        gpu_cores: the number of GPU cores of the machine, by default that of the full chip.
    """
    train_flops = ASSUMED_GPU_SHARE * chip.flops(gpu_cores)
    return Prediction(chip.bandwidth_bytes_per_s / weights_bytes, train_flops / (OPERATIONS_PER_PARAMETER * parameters))


def chip_of(machine: Machine) -> Chip | None:
    """Return the figures of a machine's chip, or None if the chip is not among ``CHIPS``."""
    name = re.sub(r"\s+", " ", machine.chip or "").strip()
    return CHIPS.get(name)
