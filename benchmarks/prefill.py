"""Time the prefill of prompts on the CPU, with attention by blocks and with MLX's own, in turns.

    python benchmarks/prefill.py [--model qwen2.5-coder-0.5b] [--lengths 128 256 512] [--turns 5]

Each prompt is random tokens, which take as long as any others. Prints a table of medians in milliseconds with their ratio, then
one JSON line. On other devices there is nothing to compare, since MLX's own attention is used there.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from contextlib import nullcontext
from importlib.metadata import version

from mlx_selfdebug.models.backend import blas, device_name, mx

from mlx_lm.models.cache import make_prompt_cache

from mlx_selfdebug.models.attention import quick_attention
from mlx_selfdebug.models.load import Model, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model)
    rows = {}
    print(f"{'tokens':>7}{'blocks, ms':>12}{'MLX, ms':>9}{'ratio':>7}")
    for length in options.lengths:
        by_blocks, by_mlx = measure(model, length, options.turns)
        rows[length] = {"blocks": by_blocks, "mlx": by_mlx, "ratio": by_mlx / by_blocks}
        print(f"{length:7}{by_blocks:12.0f}{by_mlx:9.0f}{by_mlx / by_blocks:7.2f}", flush=True)
    machine = {"machine": platform.machine(), "device": device_name(), "blas": blas.core, "mlx": version("mlx")}
    print(json.dumps({"benchmark": "prefill", "model": options.model, **machine, "milliseconds": rows}))


def measure(model: Model, length: int, turns: int) -> tuple[float, float]:
    """Return the medians of both ways, in milliseconds."""
    draw = random.Random(length)
    ids = mx.array([draw.randrange(10, 200) for _ in range(length)])[None]
    milliseconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for times, block in zip(milliseconds, (quick_attention(model.network), nullcontext()), strict=True):
            caches = make_prompt_cache(model.network)
            begin = time.perf_counter()
            with block:
                model.network(ids, cache=caches)
                mx.eval([cache.state for cache in caches])
            if turn:  # the first turn only warms up
                times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(milliseconds[0]), statistics.median(milliseconds[1])


if __name__ == "__main__":
    main()
