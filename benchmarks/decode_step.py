"""Time a decode step at several widths, and show what each of three choices in it saves.

    python benchmarks/decode_step.py [--model qwen2.5-coder-0.5b] [--widths 12 24 48 64 96] [--length 256] [--turns 5]

The step is timed as it is, and with each choice undone by itself. All four ways take turns in one process:

``activations``  mlx-lm's SwiGLU is used instead of ours, which only the CPU uses
``mask``         the attention mask holds booleans instead of numbers to add
``sampler``      exponentials are computed over the whole vocabulary instead of over its likeliest blocks

Prints a table of medians in milliseconds, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

from mlx_selfdebug.models.backend import device_name, mx

from mlx_lm.models.cache import make_prompt_cache

from mlx_selfdebug.models import activations
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.sampling import sampler as sampling
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.sampler import Sampler
from mlx_selfdebug.sampling.slots import Slots

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--widths", type=int, nargs="+", default=[12, 24, 48, 64, 96])
    parser.add_argument(
        "--length", type=int, default=256, help="number of tokens that each row already has in its cache"
    )
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model)
    rows = {}
    print(f"{'rows':>6}{'step, ms':>10}{'tokens/s':>10}{'activations':>13}{'mask':>8}{'sampler':>9}")
    for width in options.widths:
        rows[width] = row = measure(model, width, options.length, options.turns)
        others = "".join(
            f"{row[name]:{space}.0f}" for name, space in (("activations", 13), ("mask", 8), ("sampler", 9))
        )
        print(f"{width:6}{row['as it is']:10.0f}{width / row['as it is'] * 1e3:10.0f}{others}", flush=True)
    machine = {"machine": platform.machine(), "device": device_name(), "mlx": version("mlx"), "length": options.length}
    print(json.dumps({"benchmark": "decode_step", "model": options.model, **machine, "milliseconds": rows}))


def measure(model: Model, width: int, length: int, turns: int) -> dict[str, float]:
    additive, booleans = (filled(model, width, length, additive=additive) for additive in (True, False))
    sampler = Sampler(width)
    for row in range(width):
        sampler.set(row, Request((1,), 1, temperature=0.8, min_p=0.05, seed=row))
    ways: dict[str, Step] = {
        "as it is": lambda: step(model, additive, sampler),
        "activations": lambda: with_plain_layers(model, lambda: step(model, additive, sampler)),
        "mask": lambda: step(model, booleans, sampler),
        "sampler": lambda: with_whole_vocabulary(lambda: step(model, additive, sampler)),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if turn:  # the first turn only warms up
                milliseconds[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(times) for name, times in milliseconds.items()}


def filled(model: Model, width: int, length: int, *, additive: bool) -> Slots:
    """Return slots of ``width`` rows, each of which holds ``length`` tokens or up to 31 fewer."""
    slots = Slots(model.network, width, additive_mask=additive)
    prefix = make_prompt_cache(model.network)
    model.network(mx.zeros((1, length), mx.int32), cache=prefix)
    mx.eval([cache.state for cache in prefix])
    for row in range(width):
        slots.load(row, prefix, length - row % 32)
    return slots


def step(model: Model, slots: Slots, sampler: Sampler) -> None:
    slots.begin_step()
    logits = model.network(mx.zeros((slots.width, 1), mx.int32), cache=slots.layers)[:, -1]
    mx.eval(sampler.draw(logits, mx.zeros((slots.width,), mx.int32)), slots.state)


def with_plain_layers(model: Model, way: Step) -> None:
    # Our layer is a subclass of mlx-lm's, so the class after it in the method resolution order is the plain one.
    fast = [(m, type(m)) for _, m in model.network.named_modules() if type(m).__call__ is activations._forward]
    for layer, kind in fast:
        layer.__class__ = kind.__mro__[1]
    way()
    for layer, kind in fast:
        layer.__class__ = kind


def with_whole_vocabulary(way: Step) -> None:
    blocks, sampling.BLOCKS = sampling.BLOCKS, 10**9
    way()
    sampling.BLOCKS = blocks


if __name__ == "__main__":
    main()
