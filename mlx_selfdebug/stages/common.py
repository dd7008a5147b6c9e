"""Provide what every stage does around its work: measuring time and memory, its decoding settings, recording the isolation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlx_selfdebug.config import Config, DecodingConfig
from mlx_selfdebug.machine.this_machine import hardware
from mlx_selfdebug.machine.versions import versions
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Family, Key, Run

logger = logging.getLogger(__name__)

WORKER_BYTES = 60 * 10**6
"""The resident memory of the processes of one test worker, without the program under test."""


@contextmanager
def measured(run: Run, name: str, budget_gb: float) -> Iterator[Spent]:
    """Record the machine, time and memory of the stage ``name`` with the run, whether it ends well, fails or is interrupted.

    The seconds by kind of work that the block adds to the yielded value are recorded too. A warning is logged if the stage took
    more than its budget after all.
    """
    run.remember(Family.MACHINE.key(name), {"versions": versions(), "hardware": hardware()})
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


def decoding_of(stage_config: DecodingConfig, config: Config) -> Decoding:
    """Return how a stage decodes: by its settings and within the budget, with memory reserved for its tests."""
    budget = int(config.budget.inference_gb * 1e9)
    # This allows for one program at its memory limit. If more of them reach it, the batch gets narrower for a while.
    tests = config.sandbox.workers * WORKER_BYTES + config.sandbox.memory_mb * 10**6
    return Decoding(
        stage_config.temperature, stage_config.min_p, stage_config.max_tokens, stage_config.batch_size, budget, tests
    )


def remember_isolation(run: Run, runner: TestRunner) -> None:
    """Record with the run how the programs under test were isolated."""
    isolation = runner.description
    run.remember(Key.ISOLATION, isolation.level)
    probes = {probe.name: probe.held for probe in isolation.probes}
    run.remember(Key.SANDBOX, {"layers": isolation.layers, "probes": probes})
