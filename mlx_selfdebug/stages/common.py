"""What every stage of a run does around its work: measure time and memory, say how it decodes, record its isolation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlx_selfdebug.config import CollectConfig, Config, EvalConfig
from mlx_selfdebug.machine.facts import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run

logger = logging.getLogger(__name__)

WORKER_BYTES = 60 * 10**6
"""Resident memory of the processes of one test worker, the program under test aside."""


@contextmanager
def measured(run: Run, name: str, budget_gb: float) -> Iterator[Spent]:
    """Record the stage's machine, its seconds and bytes with the run, whether it ends well, fails or is interrupted.

    What the block adds to the value, seconds by kind of work, is recorded too. A warning says if it took more than its budget after
    all.
    """
    run.remember(f"machine.{name}", {"versions": versions(), "hardware": hardware()})
    done = False
    meter, spent = Meter(), Spent()
    try:
        with meter:
            yield spent
        done = True
    finally:
        run.add_stage_time(
            name, meter.wall_s, meter.peak_bytes, done=done, parts=spent.seconds, memory=meter.history.samples
        )
        if meter.peak_bytes > budget_gb * 1e9:
            logger.warning(
                "%s took %.2f GB at its peak, more than its budget of %g GB", name, meter.peak_bytes / 1e9, budget_gb
            )


def decoding_of(how: CollectConfig | EvalConfig, config: Config) -> Decoding:
    """How a stage decodes: its settings, within the budget, leaving room for its tests."""
    budget = int(config.budget.inference_gb * 1e9)
    # One program at its limit is reckoned with; should all be, the batch gets narrower for a while.
    tests = config.sandbox.workers * WORKER_BYTES + config.sandbox.memory_mb * 10**6
    return Decoding(how.temperature, how.min_p, how.max_tokens, how.batch_size, budget, tests)


def remember_isolation(run: Run, runner: TestRunner) -> None:
    """Record with the run what kept its programs apart."""
    found = runner.description
    run.remember("isolation", found.level)
    run.remember("sandbox", {"layers": found.layers, "probes": {probe.name: probe.held for probe in found.probes}})
