"""Run all checks, in the order in which a person would ask: the machine, the software, the sandbox, the hub, the folders."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mlx_selfdebug.config import Config
from mlx_selfdebug.doctor.finding import Finding
from mlx_selfdebug.doctor.hardware import examine_hardware
from mlx_selfdebug.doctor.software import examine_software
from mlx_selfdebug.doctor.surroundings import examine_folders, examine_hub, examine_sandbox
from mlx_selfdebug.machine.this_machine import read_machine, read_state


def examine(config: Config | None = None) -> Iterator[Finding]:
    """Yield every finding as soon as it is known. All of them together take about three seconds.

    The machine is checked against the memory budgets of ``config``, by default the default configuration, and its model is looked
    for.
    """
    config = config or Config()
    with ThreadPoolExecutor(1) as pool:
        # Asking the hub waits for the network, so it runs beside the other checks.
        hub = pool.submit(examine_hub)
        yield from examine_hardware(read_machine(), read_state(), config.budget)
        yield from examine_software(config.budget.training_gb)
        yield from examine_sandbox()
        yield hub.result()
        yield from examine_folders(config.model)
