"""What every stage of a run does around its work: measure time and memory, open a test runner from the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run


@contextmanager
def measured(run: Run, name: str) -> Iterator[None]:
    """Record the stage's seconds and peak bytes with the run, whether it ends well, fails or is interrupted."""
    done = False
    meter = Meter()
    try:
        with meter:
            yield
        done = True
    finally:
        run.add_stage_time(name, meter.wall_s, meter.peak_bytes, done=done)


def open_runner(config: SandboxConfig, *, allow_weak_sandbox: bool = False) -> TestRunner:
    """Raises SandboxError if programs cannot be fully confined here, unless a weak sandbox is allowed."""
    limits = Limits(wall_s=config.wall_s, cpu_s=config.cpu_s, memory_bytes=config.memory_mb * 10**6)
    return TestRunner(config.workers, limits, "none" if allow_weak_sandbox else "full")


def remember_isolation(run: Run, runner: TestRunner) -> None:
    """Record with the run what kept its programs apart."""
    found = runner.description
    run.remember("isolation", found.level)
    run.remember("sandbox", {"layers": found.layers, "probes": {probe.name: probe.held for probe in found.probes}})
