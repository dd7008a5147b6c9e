"""Run one repetition of a stage, and measure its time, its memory, its energy and the rates of its work."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlx_selfdebug.bench.power import PowerMeter
from mlx_selfdebug.machine.this_machine import read_state
from mlx_selfdebug.memory import Meter

Work = Callable[[], Mapping[str, float]]
"""A function that does the work of a stage once, and returns the rates by name, such as ``decode_tokens_per_s``."""


@dataclass(frozen=True)
class Trial:
    """The measurements of one repetition of a stage. A figure that is not known is None."""

    wall_s: float
    """The time of the work in seconds."""
    rates: Mapping[str, float]
    """The rates that the work returned, by name."""
    peak_bytes: int
    """The peak memory of the process tree, in bytes."""
    mlx_peak_bytes: int
    """The peak memory of MLX's own buffers, in bytes."""
    swap_delta_bytes: int | None = None
    """The growth of used swap in bytes; negative if it shrank."""
    joules: float | None = None
    """The energy in joules; known if macmon is on the path."""
    gpu_celsius: float | None = None
    """The highest temperature of the GPU; known if macmon is on the path."""
    thermal: str | None = None
    """The thermal pressure at the end; known on macOS."""


@dataclass(frozen=True)
class StageTrials:
    """The repetitions of a stage, in order, without the warm-up."""

    name: str
    trials: tuple[Trial, ...] = ()

    def values(self, figure: str) -> list[float]:
        """Return a figure of every trial in which it is known. ``figure`` is a field of :class:`Trial` or the name of a rate."""
        values = (trial.rates.get(figure, getattr(trial, figure, None)) for trial in self.trials)
        return [float(value) for value in values if value is not None]

    def mean(self, figure: str) -> float | None:
        """Return the mean of a figure, or None if no trial has it."""
        values = self.values(figure)
        return statistics.fmean(values) if values else None

    def sd(self, figure: str) -> float | None:
        """Return the sample standard deviation of a figure, or None if fewer than two trials have it."""
        values = self.values(figure)
        return statistics.stdev(values) if len(values) > 1 else None

    def peak(self, figure: str = "peak_bytes") -> int | None:
        """Return the largest value of a figure that is a number of bytes, or None if no trial has it."""
        values = self.values(figure)
        return int(max(values)) if values else None


def run_trial(work: Work) -> Trial:
    """Do the work of a stage once, and return what was measured."""
    # This is imported here because the tables of stored trials need this module, too, and they need no MLX.
    from mlx_selfdebug.models.backend import mx  # isort: skip

    mx.clear_cache()
    mx.reset_peak_memory()
    before = read_state()
    with PowerMeter() as power, Meter() as meter:
        rates = work()
    after = read_state()
    delta = None
    if before.swap_used_bytes is not None and after.swap_used_bytes is not None:
        delta = after.swap_used_bytes - before.swap_used_bytes
    return Trial(
        wall_s=meter.wall_s,
        rates=dict(rates),
        peak_bytes=meter.peak_bytes,
        mlx_peak_bytes=mx.get_peak_memory(),
        swap_delta_bytes=delta,
        joules=power.joules(meter.wall_s),
        gpu_celsius=power.gpu_celsius,
        thermal=after.thermal,
    )
