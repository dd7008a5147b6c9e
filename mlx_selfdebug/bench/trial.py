"""One repetition of a stage: what it took of time, memory and energy, and how much was done meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mlx_selfdebug.bench.power import PowerMeter
from mlx_selfdebug.machine.facts import read_state
from mlx_selfdebug.memory import Meter

Work = Callable[[], Mapping[str, float]]
"""Does a stage's work once; rates by name, such as ``decode_tokens_per_s``."""


@dataclass(frozen=True)
class Trial:
    """``peak_bytes`` of the process tree, ``mlx_peak_bytes`` of MLX's own buffers. Unknown is None.

    ``joules`` and ``gpu_celsius`` are known where macmon is on the path, ``thermal`` (at the end) on macOS.
    """

    wall_s: float
    rates: Mapping[str, float]
    peak_bytes: int
    mlx_peak_bytes: int
    swap_delta_bytes: int | None = None
    joules: float | None = None
    gpu_celsius: float | None = None
    thermal: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StageTrials:
    """All repetitions of a stage, in order; the warm-up is not among them."""

    name: str
    trials: tuple[Trial, ...] = field(default=())

    def values(self, figure: str) -> list[float]:
        """A figure of every trial that has it: a field of :class:`Trial`, or the name of a rate."""
        found = (trial.rates.get(figure, getattr(trial, figure, None)) for trial in self.trials)
        return [float(value) for value in found if value is not None]

    def mean(self, figure: str) -> float | None:
        values = self.values(figure)
        return statistics.fmean(values) if values else None

    def sd(self, figure: str) -> float | None:
        """The sample's standard deviation; None for fewer than two trials."""
        values = self.values(figure)
        return statistics.stdev(values) if len(values) > 1 else None

    def peak(self, figure: str = "peak_bytes") -> int | None:
        values = self.values(figure)
        return int(max(values)) if values else None


def stage_from_dict(name: str, trials: Sequence[Mapping[str, Any]]) -> StageTrials:
    return StageTrials(name, tuple(Trial(**trial) for trial in trials))


def run_trial(work: Work) -> Trial:
    from mlx_selfdebug.models.backend import mx  # isort: skip

    mx.clear_cache()
    mx.reset_peak_memory()
    before = read_state()
    with PowerMeter() as power, Meter() as meter:
        rates = work()
    after = read_state()
    known = before.swap_used_bytes is not None and after.swap_used_bytes is not None
    return Trial(
        wall_s=meter.wall_s,
        rates=dict(rates),
        peak_bytes=meter.peak_bytes,
        mlx_peak_bytes=mx.get_peak_memory(),
        swap_delta_bytes=(after.swap_used_bytes or 0) - (before.swap_used_bytes or 0) if known else None,
        joules=power.joules(meter.wall_s),
        gpu_celsius=power.gpu_celsius,
        thermal=after.thermal,
    )
