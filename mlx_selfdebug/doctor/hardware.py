"""Compare the hardware and its state with what the work needs. Findings that only a Mac has are left out elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_selfdebug.config import BudgetConfig
from mlx_selfdebug.doctor.finding import Finding, judged, ok
from mlx_selfdebug.machine.this_machine import Machine, State

MIN_MEMORY_BYTES = 4 * 10**9
"""The least memory with which a 0.5B model can be used."""
SYSTEM_BYTES = 4 * 10**9
"""The memory that is left to the system and a few programs."""
MAX_SWAP_BYTES = 2 * 10**9
"""With more swap in use than this, timings cannot be relied on."""
MIN_MACOS = 14
"""The oldest macOS for which MLX has wheels."""


def examine_hardware(machine: Machine, state: State, budget: BudgetConfig) -> Iterator[Finding]:
    """Yield the findings about the hardware, the operating system, and the state of both."""
    is_mac = machine.system.startswith("macOS")
    yield _system(machine, is_mac)
    yield _chip(machine, is_mac)
    yield ok("cores", _cores(machine))
    yield _memory(machine.memory_bytes, budget.training_gb)
    if is_mac:
        yield _wired(machine, budget.training_gb)
    yield _swap(state.swap_used_bytes)
    if is_mac or state.power:
        yield judged("power", state.power or "-", (state.power == "battery", "warning", "connect the power adapter"))
    if is_mac:
        yield _low_power(state.low_power)
        is_hot = state.thermal not in (None, "nominal")
        remedy = "let the machine cool down, or train with --train-cooldown-s 5"
        yield judged("thermal pressure", state.thermal or "-", (is_hot, "warning", remedy))


def _system(machine: Machine, is_mac: bool) -> Finding:
    major = machine.system.removeprefix("macOS ").partition(".")[0]
    is_old = is_mac and major.isdigit() and int(major) < MIN_MACOS
    return judged(
        "system", machine.system, (is_old, "problem", f"MLX needs macOS {MIN_MACOS} or newer: softwareupdate --list")
    )


def _chip(machine: Machine, is_mac: bool) -> Finding:
    """Check that a Mac has an Apple chip, and that Python is not an Intel program that Rosetta translates on it."""
    value = f"{machine.chip or '-'} ({machine.architecture})"
    is_intel = is_mac and machine.architecture != "arm64"
    is_translated = is_intel and "Apple" in (machine.chip or "")
    return judged(
        "chip",
        value,
        (
            is_translated,
            "problem",
            "this Python runs translated by Rosetta: install an arm64 Python, then type make clean setup",
        ),
        (is_intel, "problem", "MLX needs a Mac with an Apple chip"),
    )


def _cores(machine: Machine) -> str:
    """Return the numbers of cores as text, such as "10 (4 performance, 6 efficiency), GPU 10"."""
    total = str(machine.cores or "-")
    if machine.performance_cores is None:
        return total
    kinds = f"{machine.performance_cores} performance, {machine.efficiency_cores or 0} efficiency"
    return f"{total} ({kinds})" + (f", GPU {machine.gpu_cores}" if machine.gpu_cores else "")


def _memory(n_bytes: int, training_gb: float) -> Finding:
    """Check that the memory suffices for a small model and, beside the system, for the training budget."""
    room = (n_bytes - SYSTEM_BYTES) / 1e9
    return judged(
        "memory",
        f"{n_bytes / 1e9:.1f} GB",
        (n_bytes < MIN_MEMORY_BYTES, "problem", f"a 0.5B model needs at least {MIN_MEMORY_BYTES / 1e9:g} GB"),
        (
            room < training_gb,
            "warning",
            f"less than the {training_gb:g} GB for training is left: use --budget-training-gb {max(1, room):.0f}",
        ),
    )


def _wired(machine: Machine, training_gb: float) -> Finding:
    """Check how much memory the GPU may keep resident: the limit that the owner has set, or a share that macOS chooses."""
    limit = machine.wired_limit_bytes
    if limit is None:
        return ok("wired limit", "the system's own")
    is_small = limit < training_gb * 1e9
    remedy = f"sudo sysctl iogpu.wired_limit_mb={round(training_gb * 1e9 / 2**20)}, or =0 for the system's own limit"
    return judged("wired limit", f"{limit / 1e9:.1f} GB", (is_small, "warning", remedy))


def _swap(used: int | None) -> Finding:
    value = "-" if used is None else f"{used / 1e9:.1f} GB used"
    is_much = used is not None and used > MAX_SWAP_BYTES
    return judged("swap", value, (is_much, "warning", "close other programs: timings cannot be relied on"))


def _low_power(is_on: bool | None) -> Finding:
    value = {None: "-", True: "on", False: "off"}[is_on]
    return judged("low power mode", value, (bool(is_on), "warning", "sudo pmset -a lowpowermode 0"))
