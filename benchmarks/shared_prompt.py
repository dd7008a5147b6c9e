"""Measure what it saves to compute the prompt of a group of completions once instead of once for each completion.

    python benchmarks/shared_prompt.py [--model qwen2.5-coder-0.5b] [--prompt 250] [--completions 70 ...] [--repeats 3]

Both sides compute the loss and the adapter's gradient of the same group, in turns and in one process: ``rows`` as rows that each
hold prompt and completion, in micro-batches of at most ``--tokens`` tokens as in supervised training, and ``shared`` as
``training/shared_prompt.py`` does, with at most as many tokens at a time. ``--completions`` gives the length of each completion, or
one length for all eight. The least time of all repeats counts. Beside the seconds on the clock there are those of the processors,
by which the sides can be compared while other work is running. The peak is MLX's.

Prints a table, then one JSON line. ``speed_ratio`` above 1 and ``peak_ratio`` of at most 1 mean that the shared prompt is better.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

from mlx.utils import tree_flatten, tree_map

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import insert_adapter
from mlx_selfdebug.training.batches import micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.forms import training_forms
from mlx_selfdebug.training.loop import StepShape
from mlx_selfdebug.training.loss import LossAndGradient, loss_and_gradient
from mlx_selfdebug.training.shared_prompt import shared_prompt_loss_and_gradient

GROUP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--prompt", type=int, default=250, help="tokens of the prompt")
    parser.add_argument("--completions", type=int, nargs="+", default=[70], help="tokens of the completions")
    parser.add_argument("--tokens", type=int, default=StepShape().max_tokens, help="tokens at a time")
    parser.add_argument("--rank", type=int, default=TrainConfig().rank)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    lengths = options.completions if len(options.completions) > 1 else options.completions * GROUP
    model = load_model(options.model)
    insert_adapter(model.network, TrainConfig(rank=options.rank), 0)
    if model.device == "cpu":
        mx.set_cache_limit(0)
    examples = group_of_code(model, options.prompt, lengths)
    sides: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu_seconds": []} for name in ("rows", "shared")}
    gradients = {}
    for _ in range(options.repeats):
        for name, side in sides.items():
            mx.clear_cache()
            mx.reset_peak_memory()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            computed = compute(name, model, examples, options.tokens)
            side["seconds"].append(time.perf_counter() - begin)
            side["cpu_seconds"].append(time.process_time() - cpu_begin)
            side["peak_bytes"], side["loss"] = mx.get_peak_memory(), computed.loss
            gradients[name] = dict(tree_flatten(computed.gradient))
    off = max(
        mx.max(mx.abs(gradients["shared"][name] - array)).item() / max(mx.max(mx.abs(array)).item(), 1e-30)
        for name, array in gradients["rows"].items()
        if mx.any(array).item()
    )
    report(options, lengths, sides, off)


def group_of_code(model: Model, prompt: int, lengths: list[int]) -> list[Example]:
    """Return one prompt of code with completions of these lengths, half of which are to become less likely."""
    text = "\n".join(
        task.starter_code + "\n" + task.statement + "\n" + task.reference for task in load_tasks("starter")
    )
    ids = model.encode(text)
    starts = [prompt + sum(lengths[:i]) for i in range(len(lengths))]
    return [
        Example((*ids[:prompt], *ids[at : at + n]), prompt, f"completion {i}", ((-1.0) ** i,) * n)
        for i, (at, n) in enumerate(zip(starts, lengths, strict=True))
    ]


def compute(side: str, model: Model, examples: list[Example], max_tokens: int) -> LossAndGradient:
    with training_forms(model.network, recompute=False):
        if side == "shared":
            return shared_prompt_loss_and_gradient(model.network, examples, max_tokens)
        loss, summed = 0.0, None
        for batch in micro_batches(examples, max_tokens):
            part = loss_and_gradient(model.network, batch)
            loss += part.loss
            summed = part.gradient if summed is None else tree_map(mx.add, summed, part.gradient)
            mx.eval(summed)
        return LossAndGradient(loss, summed)


def report(options: argparse.Namespace, lengths: list[int], sides: dict[str, dict[str, Any]], off: float) -> None:
    n = sum(lengths)
    print(f"{len(lengths)} completions of {n} tokens together, prompt of {options.prompt} tokens")
    print(f"{'':10}{'seconds':>10}{'CPU seconds':>13}{'completion tokens/s':>22}{'MLX peak, GB':>14}")
    for name, side in sides.items():
        least = min(side["seconds"])
        cpu = min(side["cpu_seconds"])
        print(f"{name:10}{least:10.2f}{cpu:13.2f}{n / least:22.1f}{side['peak_bytes'] / 1e9:14.2f}")
    speed, cpu_speed = (min(sides["rows"][unit]) / min(sides["shared"][unit]) for unit in ("seconds", "cpu_seconds"))
    peak = sides["shared"]["peak_bytes"] / sides["rows"]["peak_bytes"]
    print(
        f"shared: {speed:.2f} times as fast ({cpu_speed:.2f} by CPU time), {peak:.2f} times the peak; "
        f"gradients differ by at most {off:.1e}"
    )
    machine = {"machine": platform.machine(), "device": device_name(), "mlx": version("mlx")}
    results = {
        "speed_ratio": speed,
        "cpu_speed_ratio": cpu_speed,
        "peak_ratio": peak,
        "gradient_difference": off,
        "sides": sides,
    }
    print(json.dumps({"benchmark": "shared prompt", **machine, "options": vars(options), **results}))


if __name__ == "__main__":
    main()
