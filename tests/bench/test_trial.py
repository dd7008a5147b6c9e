from __future__ import annotations

import sys
import time

import pytest

from mlx_selfdebug.bench.power import PowerMeter
from mlx_selfdebug.bench.trial import StageTrials, run_trial

from .conftest import trial

LINES = 'import time, sys\nfor _ in range(200):\n print(\'{"sys_power": 8.0, "temp": {"gpu_temp_avg": 50}}\', flush=True)\n time.sleep(0.01)\n'


def test_mean_deviation_and_peak_are_over_the_trials() -> None:
    stage = StageTrials("load", (trial(1.0), trial(2.0), trial(3.0, peak_bytes=9)))
    assert stage.mean("wall_s") == 2.0
    assert stage.sd("wall_s") == 1.0
    assert stage.peak() == 10**9


def test_one_trial_has_no_deviation_and_an_unknown_figure_no_mean() -> None:
    stage = StageTrials("load", (trial(1.0),))
    assert stage.sd("wall_s") is None
    assert stage.mean("joules") is None
    assert stage.mean("nothing_per_s") is None
    assert StageTrials("none").peak() is None


def test_a_trial_measures_what_the_work_takes() -> None:
    def work() -> dict[str, float]:
        held = bytearray(100_000_000)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(0.3)
        return {"things_per_s": 3.0}

    idle = run_trial(lambda: time.sleep(0.1) or {})  # type: ignore[func-returns-value]
    found = run_trial(work)
    assert found.wall_s >= 0.3
    assert found.rates == {"things_per_s": 3.0}
    assert found.peak_bytes > idle.peak_bytes + 50_000_000
    assert found.swap_delta_bytes is not None


def test_energy_is_mean_watts_times_seconds_of_what_the_meter_printed() -> None:
    with PowerMeter([sys.executable, "-c", LINES]) as power:
        deadline = time.monotonic() + 30
        while power.gpu_celsius != 50 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert power.joules(10.0) == pytest.approx(80.0)
    assert power.gpu_celsius == 50


@pytest.mark.parametrize("command", [[], ["/nowhere/macmon"], [sys.executable, "-c", "print('no json')"]])
def test_without_a_meter_energy_is_unknown(command: list[str]) -> None:
    with PowerMeter(command) as power:
        time.sleep(0.05)
    assert power.joules(1.0) is None
    assert power.gpu_celsius is None
