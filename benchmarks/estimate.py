"""Compare the memory and time that training is estimated to take with what it takes, over many settings.

    python benchmarks/estimate.py [--settings 12] [--models qwen2.5-coder-0.5b smollm2-135m]

For each setting, one process makes the estimate from steps with a few of the model's layers. Another process trains the whole model
for three optimizer steps. Two figures are compared: the peak memory of the process tree and the seconds per step. Probes that
earlier estimates left in the cache are not used. Prints a table, then one JSON line, in which ``worst_error`` is the largest
|estimate / measured - 1| of the peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

import numpy as np

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE, default_cache_dir
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.models.load import load_model, open_model
from mlx_selfdebug.stages.estimate import training_planner
from mlx_selfdebug.training.adapter import insert_adapter
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loop import StepShape, optimizer_of, train_steps
from mlx_selfdebug.training.plan import Workload

STEPS = 3
MIN_VOCABULARY = 256
"""Every model's vocabulary has at least this many ids, so random rows of lower ids suit all models."""


@dataclass(frozen=True)
class Setting:
    """A training whose peak memory and speed are estimated and measured."""

    model: int
    """The model's place in ``--models``, 0 or 1."""
    length: int
    """Tokens per row. The second half of a row is supervised."""
    rank: int = 8
    layers: int = -1
    """The number of layers that get an adapter; -1 is all of them."""
    method: str = "lora"
    max_tokens: int = 640
    """The largest number of tokens in a micro-batch."""
    recompute: bool = False
    """Whether layers compute their activations again in the backward pass."""
    batch: int = 2
    """Rows per optimizer step."""


SETTINGS = (
    Setting(0, 300),
    Setting(0, 1024),
    Setting(0, 300, recompute=True),
    Setting(0, 1024, recompute=True),
    Setting(0, 300, layers=8),
    Setting(0, 128, rank=64, batch=4),
    Setting(0, 200, max_tokens=1600, batch=8),
    Setting(0, 96, method="dora"),
    Setting(1, 300, batch=4),
    Setting(1, 1024),
    Setting(1, 1500, recompute=True),
    Setting(1, 64, rank=128, batch=8),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, default=["qwen2.5-coder-0.5b", "smollm2-135m"])
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="number of settings to run, from the first")
    parser.add_argument("--side", choices=["estimate", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = {"estimate": estimate_one, "measure": measure_one}[options.side]
        print(json.dumps(side(options.models, SETTINGS[options.number])))
        return
    print(f"{'setting':66}{'estimated GB':>13}{'measured':>10}{'error':>8}{'s per step':>12}{'measured':>10}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.settings):
            rows.append(compare(options, number, folder))
            show(rows[-1])
    worst = max(abs(row["estimate"]["peak_bytes"] / row["measure"]["peak_bytes"] - 1) for row in rows)
    print(f"largest error of an estimated peak: {worst:.1%}\n")
    about = {"machine": platform.machine(), "system": platform.system(), "device": device_name()}
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    print(json.dumps({"benchmark": "estimate", **about, **versions, "worst_error": worst, "rows": rows}))


def compare(options: argparse.Namespace, number: int, probes: str) -> dict[str, Any]:
    setting = SETTINGS[number]
    return {
        "setting": {**asdict(setting), "model": options.models[setting.model]},
        **{side: in_a_process(options, side, number, probes) for side in ("estimate", "measure")},
    }


def in_a_process(options: argparse.Namespace, side: str, number: int, probes: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, "--number", str(number), "--models", *options.models]
    environment = {**os.environ, "MLX_SELFDEBUG_BENCH_PROBES": probes}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def config_of(setting: Setting) -> TrainConfig:
    return TrainConfig(
        rank=setting.rank, layers=setting.layers, method=setting.method, batch_size=setting.batch, epochs=1
    )


def rows_of(setting: Setting) -> list[Example]:
    drawn = np.random.default_rng(0).integers(0, MIN_VOCABULARY, (STEPS * setting.batch, setting.length))
    return [Example(tuple(map(int, ids)), setting.length // 2) for ids in drawn]


def estimate_one(models: list[str], setting: Setting) -> dict[str, Any]:
    model = open_model(models[setting.model])
    # The cache is moved only after the model is found in it, so that the model is not fetched again and old probes are not seen.
    os.environ[CACHE_VARIABLE] = os.environ["MLX_SELFDEBUG_BENCH_PROBES"]
    assert str(default_cache_dir()) == os.environ["MLX_SELFDEBUG_BENCH_PROBES"]
    planner = training_planner(model, config_of(setting))
    work = Workload.of(rows_of(setting))
    plan = planner.with_shape(work, StepShape(setting.max_tokens, setting.recompute))
    return {"peak_bytes": plan.peak_bytes, "step_s": plan.wall_s / STEPS}


def measure_one(models: list[str], setting: Setting) -> dict[str, Any]:
    config = config_of(setting)
    with Meter() as meter:
        model = load_model(models[setting.model])
        mx.set_cache_limit(0)
        insert_adapter(model.network, config, 0)
        shape = StepShape(setting.max_tokens, setting.recompute)
        examples = rows_of(setting)
        made = list(
            train_steps(
                model.network, examples, config, 0, optimizer_of(config, STEPS),
                shape=shape, start=None, advance=lambda _n, _note: None,
            )
        )  # fmt: skip
    return {"peak_bytes": meter.peak_bytes, "step_s": min(step.wall_s for step in made), "mlx": mx.get_peak_memory()}


def show(row: dict[str, Any]) -> None:
    named = " ".join(f"{key}={value}" for key, value in row["setting"].items())
    estimate, measured = row["estimate"], row["measure"]
    error = estimate["peak_bytes"] / measured["peak_bytes"] - 1
    print(
        f"{named[:64]:66}{estimate['peak_bytes'] / 1e9:13.2f}{measured['peak_bytes'] / 1e9:10.2f}{error:8.1%}"
        f"{estimate['step_s']:12.1f}{measured['step_s']:10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
