"""What the machine is and how it is at the moment. Unknown is None.

>>> read_machine().memory_bytes > 0
True
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from typing import Literal

import psutil

from mlx_selfdebug.machine import apple, linux

Power = Literal["mains", "battery"]


@dataclass(frozen=True)
class Machine:
    """``cores`` are logical ones; of ``performance_cores`` and ``efficiency_cores``, and of ``gpu_cores``, Apple chips have both.

    ``wired_limit_bytes`` is what the owner lets the GPU hold, None where it is the system's own share.
    """

    system: str
    architecture: str
    chip: str | None
    cores: int | None
    memory_bytes: int
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    gpu_cores: int | None = None
    wired_limit_bytes: int | None = None


@dataclass(frozen=True)
class State:
    """How the machine is just now. ``thermal`` is the pressure macOS reports: nominal, moderate, heavy, trapping or sleeping."""

    swap_used_bytes: int | None
    power: Power | None = None
    low_power: bool | None = None
    thermal: str | None = None


def read_machine() -> Machine:
    memory = int(psutil.virtual_memory().total)
    if sys.platform == "darwin":
        found = apple.read_hardware()
        return Machine(
            apple.system_name() or f"macOS {platform.mac_ver()[0]}",
            platform.machine(),
            found.chip,
            os.cpu_count(),
            memory,
            found.performance_cores,
            found.efficiency_cores,
            found.gpu_cores,
            found.wired_limit_bytes,
        )
    system = linux.system_name() if sys.platform == "linux" else None
    chip = linux.chip() if sys.platform == "linux" else None
    return Machine(
        system or f"{platform.system()} {platform.release()}", platform.machine(), chip, os.cpu_count(), memory
    )


def read_state() -> State:
    try:
        swap: int | None = int(psutil.swap_memory().used)
    except OSError:  # some containers hide it
        swap = None
    if sys.platform == "darwin":
        return State(swap, apple.power_source(), apple.low_power_mode(), apple.thermal_pressure())
    return State(swap, linux.power_source() if sys.platform == "linux" else None)


def hardware() -> dict[str, str | int | None]:
    """The machine as a record of a run."""
    found = read_machine()
    return {
        "system": found.system,
        "machine": found.architecture,
        "chip": found.chip,
        "cores": found.cores,
        "memory_bytes": found.memory_bytes,
        **({"gpu_cores": found.gpu_cores} if found.gpu_cores else {}),
    }
