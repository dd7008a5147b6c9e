"""Compare LoRA training by this package's loop with mlx_lm.lora --mask-prompt, in memory, speed and loss.

    python benchmarks/training.py [--model qwen2.5-coder-0.5b] [--lengths 1024 300] [--batches 2 4] [--steps 3]

Each side is a process of its own. Both get the same weights (in float32 on the CPU, as they are stored elsewhere), the same rows of
real code in the same order, and the same rank, layers, optimizer and learning rate. For mlx_lm.lora, its own ``train`` is called
with its own loss and step, and is handed the rows batch by batch. A third process computes our batches with the plain loss, so that
the losses can be compared step by step.

``--supervised`` is the number of supervised tokens per row. ``--batches`` gives the rows per step for each of ``--lengths``. Both
sides have a default of four, but mlx_lm.lora cannot train on four rows of 1,024 tokens in 24 GB.

Prints a table, then one JSON line. ``speed_ratio`` above 1 and ``peak_ratio`` below 1 mean that ours is better.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

import numpy as np
from mlx_lm.tuner import trainer

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.models import activations
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training import loop
from mlx_selfdebug.training.adapter import insert_adapter
from mlx_selfdebug.training.batches import steps_of
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loss import LossAndGradient, plain_loss

SIDES = {"ours": "mlx-selfdebug", "peer": "mlx_lm.lora --mask-prompt", "plain": "plain loss, same batches"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 300])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4], help="rows per step, for each length")
    parser.add_argument("--supervised", type=int, default=200)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--recompute", action="store_true", help="our layers recompute in the backward pass")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options)))
        return
    rows = {}
    for length, batch in zip(options.lengths, options.batches, strict=True):
        records = {side: in_a_process(options, side, length, batch) for side in SIDES}
        rows[str(length)] = {"batch": batch, **summary(records)}
        show(length, records, rows[str(length)])
    machine = {"machine": platform.machine(), "system": platform.system(), "device": device_name()}
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    print(json.dumps({"benchmark": "training", **machine, **versions, "options": vars(options), "lengths": rows}))


def in_a_process(options: argparse.Namespace, side: str, length: int, batch: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, "--model", options.model, "--lengths", str(length)]
    command += ["--steps", str(options.steps), "--batches", str(batch), "--supervised", str(options.supervised)]
    command += ["--layers", str(options.layers), *(["--recompute"] if options.recompute else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def one_side(options: argparse.Namespace) -> dict[str, Any]:
    mlx_limit = mx.set_cache_limit(0)
    model = load_model(options.model)
    (batch,), (length,) = options.batches, options.lengths
    config = TrainConfig(layers=options.layers, batch_size=batch, epochs=1)
    examples = rows_of_code(model, length, options.supervised, options.steps * batch)
    if options.side == "peer":
        plain_layers(model.network)
    insert_adapter(model.network, config, 0)
    optimizer = loop.optimizer_of(config, options.steps)
    # Each side keeps freed buffers as it does by itself: train() keeps none on the CPU, mlx_lm.lora as many as mlx allows.
    if options.side == "peer":
        mx.set_cache_limit(mlx_limit)
    elif model.device == "cpu":
        mx.set_cache_limit(0)
    mx.clear_cache()
    mx.reset_peak_memory()
    weights = mx.get_active_memory()
    run = {"ours": run_ours, "peer": run_peer, "plain": run_plain}[options.side]
    with Meter() as meter:
        steps = run(model, examples, config, optimizer, options)
    peaks = {"mlx_peak_bytes": mx.get_peak_memory(), "weights_bytes": weights, "process_peak_bytes": meter.peak_bytes}
    return {**peaks, **steps}


def run_ours(
    model: Model, examples: list[Example], config: TrainConfig, optimizer: Any, options: argparse.Namespace
) -> dict[str, Any]:
    shape = loop.StepShape(recompute=options.recompute)
    steps = loop.train_steps(
        model.network, examples, config, 0, optimizer, shape=shape, start=None, advance=lambda _n, _note: None
    )
    made = list(steps)
    return {
        "losses": [s.loss for s in made],
        "seconds": [s.wall_s for s in made],
        "tokens": sum(s.n_tokens for s in made),
    }


def run_plain(
    model: Model, examples: list[Example], config: TrainConfig, optimizer: Any, options: argparse.Namespace
) -> dict[str, Any]:
    def plain(network: nn.Module, batch: Any, **_: Any) -> LossAndGradient:
        value, gradient = nn.value_and_grad(network, plain_loss)(network, batch)
        mx.eval(value, gradient)
        return LossAndGradient(float(value.item()), gradient)

    loop.loss_and_gradient = plain
    return run_ours(model, examples, config, optimizer, options)


def run_peer(
    model: Model, examples: list[Example], config: TrainConfig, optimizer: Any, options: argparse.Namespace
) -> dict[str, Any]:
    reports: list[dict[str, Any]] = []

    class Callback(trainer.TrainingCallback):
        def on_train_loss_report(self, report: dict[str, Any]) -> None:
            reports.append({**report, "at": time.perf_counter()})

    def batches(**_: Any) -> Iterator[tuple[mx.array, mx.array]]:
        for step in steps_of(examples, config.batch_size, 1, 0):
            width = 1 + 32 * math.ceil(max(len(e.ids) for e in step) / 32)
            ids = np.zeros((len(step), width), np.int32)
            for row, example in enumerate(step):
                ids[row, : len(example.ids)] = example.ids
            yield mx.array(ids), mx.array([[e.start, len(e.ids)] for e in step])

    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer.TrainingArgs(
            batch_size=config.batch_size, iters=options.steps, steps_per_report=1, steps_per_save=10**6,
            adapter_file=str(Path(folder) / "adapters.safetensors"),
        )  # fmt: skip
        begin = time.perf_counter()
        trainer.train(
            model.network, optimizer, [], args=arguments, iterate_batches=batches, training_callback=Callback()
        )
    marks = [begin, *(report["at"] for report in reports)]
    seconds = [after - before for before, after in itertools.pairwise(marks)]
    supervised = sum(example.n_supervised for example in examples)
    return {"losses": [report["train_loss"] for report in reports], "seconds": seconds, "tokens": supervised}


def rows_of_code(model: Model, length: int, supervised: int, n: int) -> list[Example]:
    """Return ``n`` rows of ``length`` tokens each, cut from HumanEval's prompts and solutions one after the other."""
    text = "\n".join(
        task.starter_code + "\n" + task.statement + "\n" + task.reference for task in load_tasks("humaneval")
    )
    ids = model.encode(text)
    return [Example(tuple(ids[i * length : (i + 1) * length]), length - supervised, f"row {i}") for i in range(n)]


def plain_layers(network: nn.Module) -> None:
    """Have the network compute with mlx-lm's own layers, without this package's activations."""
    for _, layer in network.named_modules():
        if type(layer).__call__ is activations._forward:
            layer.__class__ = type(layer).__mro__[1]


def summary(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rate = {side: record["tokens"] / sum(record["seconds"]) for side, record in records.items()}
    ours, peer = records["ours"], records["peer"]
    off = max(abs(a - b) for a, b in zip(ours["losses"], records["plain"]["losses"], strict=True))
    return {
        "supervised_tokens_per_s": rate,
        "speed_ratio": rate["ours"] / rate["peer"],
        "peak_ratio": ours["mlx_peak_bytes"] / peer["mlx_peak_bytes"],
        "loss_difference": off,
        "sides": records,
    }


def show(length: int, records: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
    print(
        f"{row['batch']} rows of {length} tokens{'':8}{'tokens/s':>10}{'MLX peak, GB':>14}{'process, GB':>13}  losses"
    )
    for side, name in SIDES.items():
        record = records[side]
        losses = " ".join(f"{loss:.4f}" for loss in record["losses"])
        rate = row["supervised_tokens_per_s"][side]
        print(
            f"{name:28}{rate:10.1f}{record['mlx_peak_bytes'] / 1e9:14.2f}"
            f"{record['process_peak_bytes'] / 1e9:13.2f}  {losses}"
        )
    print(
        f"ours is {row['speed_ratio']:.2f} times as fast with {row['peak_ratio']:.2f} times the peak; "
        f"its loss differs from the plain one by at most {row['loss_difference']:.1e}\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
