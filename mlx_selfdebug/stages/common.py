"""Do what all stages have in common: measure their time and memory, derive their decoding settings, and record the isolation."""

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

COMPLETION_TOKENS = 80
"""The number of tokens of a usual completion, by which times are estimated."""
WORKER_BYTES = 60 * 10**6
"""The resident memory of the processes of one test worker, without the program under test."""


@contextmanager
def measured(run: Run, name: str, budget_gb: float) -> Iterator[Spent]:
    """Record with the run the machine on which the block runs as stage ``name``, and the time and memory that it takes.

    They are recorded even if the block raises an error. The block may add the seconds of each kind of work to the yielded value,
    and these are recorded as well. A warning is logged if the stage took more than ``budget_gb`` gigabytes (10^9 bytes).
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
    """Return how a stage decodes: by ``stage_config``, within the budget of inference, and with memory reserved for its tests."""
    # This allows for one program at its memory limit. If more programs reach it at once, the batch gets narrower for a while.
    reserved_bytes = config.sandbox.workers * WORKER_BYTES + config.sandbox.memory_mb * 10**6
    return Decoding(
        stage_config.temperature,
        stage_config.min_p,
        stage_config.max_tokens,
        stage_config.batch_size,
        budget_bytes=int(config.budget.inference_gb * 1e9),
        reserved_bytes=reserved_bytes,
    )


def remember_isolation(run: Run, runner: TestRunner) -> None:
    """Record with the run how ``runner`` isolates programs. The first record of a run stays."""
    isolation = runner.description
    run.remember(Key.ISOLATION, isolation.level)
    probes = {probe.name: probe.held for probe in isolation.probes}
    run.remember(Key.SANDBOX, {"layers": isolation.layers, "probes": probes})
