"""Read the machine's hardware, its operating system and its present state. A value that is unknown is None.

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
    """The hardware and operating system of this machine."""

    system: str
    """The name and version of the operating system."""
    architecture: str
    """The kind of processor, such as ``arm64`` or ``x86_64``."""
    chip: str | None
    """The name of the processor."""
    cores: int | None
    """The number of logical cores."""
    memory_bytes: int
    """The size of the physical memory."""
    performance_cores: int | None = None
    """The number of fast cores; known for Apple chips only."""
    efficiency_cores: int | None = None
    """The number of slower, energy-saving cores; known for Apple chips only."""
    gpu_cores: int | None = None
    """The number of GPU cores; known for Apple chips only."""
    wired_limit_bytes: int | None = None
    """The memory that the GPU may keep wired, as set by the owner; None where the system's own default applies."""


@dataclass(frozen=True)
class State:
    """The state of the machine at one moment."""

    swap_used_bytes: int | None
    power: Power | None = None
    """Where the power comes from."""
    low_power: bool | None = None
    """Whether the Low Power Mode of macOS is on."""
    thermal: str | None = None
    """The thermal pressure that macOS reports: nominal, moderate, heavy, trapping or sleeping."""


def read_machine() -> Machine:
    """Return this machine's hardware and operating system."""
    memory = int(psutil.virtual_memory().total)
    if sys.platform == "darwin":
        mac = apple.read_hardware()
        return Machine(
            system=apple.system_name() or f"macOS {platform.mac_ver()[0]}",
            architecture=platform.machine(),
            chip=mac.chip,
            cores=os.cpu_count(),
            memory_bytes=memory,
            performance_cores=mac.performance_cores,
            efficiency_cores=mac.efficiency_cores,
            gpu_cores=mac.gpu_cores,
            wired_limit_bytes=mac.wired_limit_bytes,
        )
    on_linux = sys.platform == "linux"
    return Machine(
        system=linux.system_name() if on_linux else f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        chip=linux.chip() if on_linux else None,
        cores=os.cpu_count(),
        memory_bytes=memory,
    )


def read_state() -> State:
    """Return the present state of this machine: its swap, power and temperature."""
    try:
        swap: int | None = int(psutil.swap_memory().used)
    except OSError:  # some containers hide the swap
        swap = None
    if sys.platform == "darwin":
        return State(swap, apple.power_source(), apple.low_power_mode(), apple.thermal_pressure())
    return State(swap, linux.power_source() if sys.platform == "linux" else None)


def hardware() -> dict[str, str | int | None]:
    """Return the hardware and operating system of this machine in the form in which they are recorded with a run."""
    machine = read_machine()
    return {
        "system": machine.system,
        "machine": machine.architecture,
        "chip": machine.chip,
        "cores": machine.cores,
        "memory_bytes": machine.memory_bytes,
        **({"gpu_cores": machine.gpu_cores} if machine.gpu_cores else {}),
    }
