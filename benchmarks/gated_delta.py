"""Compare our chunked recurrence with mlx-lm's loop over tokens on a GatedDeltaNet layer, in speed, memory and result.

    python benchmarks/gated_delta.py [--tokens 1024] [--batch 1] [--repeats 3] [--hidden 1024] [--heads 16] [--size 128]
                                     [--gradient lora|all|input]

One layer of Qwen3.5-0.8B's shape is run forward and backward, in training mode. It is mlx_lm.models.qwen3_5's own layer, with
random weights in float32. The gradient always reaches the layer's input. ``--gradient`` says what else it reaches:

``lora``   LoRA weights of rank 8 at the layer's projections, as in our training
``all``    all weights of the layer
``input``  nothing else

Each side is a process of its own with the same weights and input. It makes one run to warm up and then ``--repeats`` more, of which
the median counts. The peak is mx.get_peak_memory of the last run and includes weights and input. ``difference`` is the largest
difference between the sides in an output or a gradient, as a share of the largest number in it. Prints a table, then one JSON
line, in which ``speed_ratio`` above 1 and ``peak_ratio`` below 1 mean that ours is better.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx, nn

from mlx.utils import tree_flatten
from mlx_lm.models.qwen3_5 import GatedDeltaNet, TextModelArgs
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_selfdebug.training.gated_delta import CHUNK, chunked_gated_delta

SIDES = {"ours": "mlx-selfdebug, by chunks", "peer": "mlx-lm, token by token"}
SIZES = ("tokens", "batch", "repeats", "hidden", "heads", "size")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=16, help="number of heads of keys, and of values")
    parser.add_argument("--size", type=int, default=128, help="size of a key, and of a value")
    parser.add_argument("--gradient", choices=["lora", "all", "input"], default="lora")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {side: f"{folder}/{side}.safetensors" for side in SIDES}
        records = {side: in_a_process(options, side, file) for side, file in files.items()}
        difference = largest_difference(*(mx.load(file) for file in files.values()))
    show(options, records)
    ours, peer = records.values()
    record = {
        "speed_ratio": peer["seconds"] / ours["seconds"],
        "peak_ratio": ours["mlx_peak_bytes"] / peer["mlx_peak_bytes"],
        "difference": difference,
        "sides": records,
    }
    print(
        f"ours is {record['speed_ratio']:.1f} times as fast with {record['peak_ratio']:.3f} times the peak; "
        f"the results differ by {difference:.1e}"
    )
    machine = {"machine": platform.machine(), "system": platform.system(), "device": device_name(), "chunk": CHUNK}
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    settings = {name: getattr(options, name) for name in (*SIZES, "gradient")}
    print(json.dumps({"benchmark": "gated_delta", **machine, **versions, "options": settings, **record}))


def in_a_process(options: argparse.Namespace, side: str, file: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--side", side, "--file", file, "--gradient", options.gradient]
    for name in SIZES:
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def one_side(options: argparse.Namespace) -> dict[str, Any]:
    layer = make_layer(options)
    x = mx.random.normal((options.batch, options.tokens, options.hidden), key=mx.random.key(1))
    weights = mx.random.normal(x.shape, key=mx.random.key(2))
    mx.eval(x, weights, layer.parameters())

    def weighted(parameters: Any, x: mx.array) -> tuple[mx.array, mx.array]:
        layer.update(parameters)
        y = layer(x)
        return (y * weights).mean(), y

    value_and_gradient = mx.value_and_grad(weighted, argnums=(0, 1))
    seconds = []
    held = mx.get_active_memory()  # weights and input
    with chunked_gated_delta(layer) if options.side == "ours" else nullcontext():
        for _ in range(1 + options.repeats):
            results = None  # frees the results of the run before, which would count in the peak of this one
            mx.clear_cache()
            mx.reset_peak_memory()
            begin = time.perf_counter()
            results = value_and_gradient(layer.trainable_parameters(), x)
            mx.eval(results)
            seconds.append(time.perf_counter() - begin)
    (_, y), (of_weights, of_input) = results
    mx.save_safetensors(options.file, {"y": y, "input": of_input, **dict(tree_flatten(of_weights))})
    peaks = {"mlx_peak_bytes": mx.get_peak_memory(), "weights_and_input_bytes": held}
    return {"seconds": statistics.median(seconds[1:]), "runs": seconds, **peaks}


def make_layer(options: argparse.Namespace) -> nn.Module:
    mx.random.seed(0)
    layer = GatedDeltaNet(
        TextModelArgs(
            hidden_size=options.hidden,
            linear_num_value_heads=options.heads,
            linear_num_key_heads=options.heads,
            linear_key_head_dim=options.size,
            linear_value_head_dim=options.size,
            linear_conv_kernel_dim=4,
        )
    )
    if options.gradient != "all":
        layer.freeze()
    if options.gradient == "lora":
        holder = nn.Module()
        holder.layers = [layer]
        linear_to_lora_layers(holder, 1, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    return layer.train()


def largest_difference(ours: dict[str, mx.array], peer: dict[str, mx.array]) -> float:
    """Return the largest difference in an output or a gradient, as a share of the largest number that the peer has in it."""
    sizes = {name: mx.max(mx.abs(x)).item() for name, x in peer.items()}
    return max(mx.max(mx.abs(ours[name] - x)).item() / (sizes[name] or 1.0) for name, x in peer.items())


def show(options: argparse.Namespace, records: dict[str, dict[str, Any]]) -> None:
    gradient = {"lora": "input and LoRA", "all": "input and all weights", "input": "input"}[options.gradient]
    print(f"{options.batch} x {options.tokens} tokens, {options.heads} heads of {options.size}; gradient to {gradient}")
    print(f"{'':28}{'seconds':>9}{'tokens/s':>10}{'MLX peak, MB':>14}{'before run, MB':>16}")
    for side, name in SIDES.items():
        row = records[side]
        rate = options.batch * options.tokens / row["seconds"]
        peak, held = row["mlx_peak_bytes"] / 1e6, row["weights_and_input_bytes"] / 1e6
        print(f"{name:28}{row['seconds']:9.2f}{rate:10.0f}{peak:14.0f}{held:16.0f}")


if __name__ == "__main__":
    main()
