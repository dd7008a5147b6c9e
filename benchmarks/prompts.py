"""Compare prompts and stop rules by the tokens they cost and by the share of right answers, on drafts for the starter tasks.

    python benchmarks/prompts.py [--model qwen2.5-coder-0.5b] [--samples 2] [--limit 0] [--only NAME ...]

The variants go from how such models are usually asked to how this package asks. They share the base model, the seeds, the
temperature and the largest number of tokens. Prints a table, then one JSON line. For each variant they show the tokens decoded per
draft, the share of drafts that pass the hidden checks with its standard error (clustered by task), and the share of drafts that
were cut off at the largest number of tokens.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from mlx_selfdebug.models.backend import device_name

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.sampling.language_model import complete, open_decoder
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sampling.seeds import attempt_seed
from mlx_selfdebug.sandbox import TestRunner
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.task import Task

TEMPERATURE, MIN_P, MAX_TOKENS = 0.8, 0.05, 400
DOMAIN = domain_of("python")


@dataclass(frozen=True)
class Variant:
    """A way to ask a model to solve a task."""

    prompt: Callable[[Task], str]
    """Returns the user's message for a task."""
    reply_prefix: str = ""
    """The text that the reply is made to begin with."""
    stop_text: str = ""
    """The text that ends the reply; empty if only the model's end of turn does."""


def documented(task: Task) -> str:
    """Return the task's signature with its statement as the docstring, which is the form of HumanEval's prompts."""
    body = "\n    ".join(task.statement.strip().splitlines())
    return f'```python\n{task.starter_code.strip()}\n    """{body}\n    """\n```'


def plain(task: Task) -> str:
    return f"Complete this Python function.\n\n{documented(task)}"


def code_alone(task: Task) -> str:
    """Return this package's prompt with a sentence added that asks for the code alone."""
    first, rest = DOMAIN.prompt(task).split("\n", 1)
    return f"{first} Answer with its code alone: no docstring, no comments, no examples.\n{rest}"


VARIANTS = {
    "docstring, free reply": Variant(plain),
    "docstring, fenced": Variant(plain, DOMAIN.reply_prefix, DOMAIN.stop_text),
    "prose, free start": Variant(DOMAIN.prompt, "", "\n```\n"),
    "prose, code alone, fenced": Variant(code_alone, DOMAIN.reply_prefix, DOMAIN.stop_text),
    "this package's": Variant(DOMAIN.prompt, DOMAIN.reply_prefix, DOMAIN.stop_text),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="use this many tasks, spread over the set; 0 = all")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    options = parser.parse_args()
    model, tasks = load_model(options.model), list(load_tasks("starter").spread(options.limit))
    print(f"{'':32}{'tokens/draft':>15}{'passed':>9}{'s.e.':>7}{'cut':>7}")
    rows = {}
    for name in options.only:
        rows[name] = row = measure(model, VARIANTS[name], tasks, options.samples)
        print(
            f"{name:32}{row['tokens']:15.1f}{row['passed']:9.1%}{row['standard_error']:7.1%}{row['cut']:7.1%}",
            flush=True,
        )
    machine = {"machine": platform.machine(), "device": device_name(), "tasks": len(tasks), "samples": options.samples}
    print(json.dumps({"benchmark": "prompts", "model": options.model, **machine, "variants": rows}))


def measure(model: Model, variant: Variant, tasks: list[Task], samples: int) -> dict[str, float]:
    asked = [task for task in tasks for _ in range(samples)]
    requests = [request(model, variant, task, i % samples) for i, task in enumerate(asked)]
    decoder = open_decoder(
        model, budget_bytes=6 * 10**9, max_rows=64, max_row_tokens=MAX_TOKENS + max(len(r.prompt) for r in requests)
    )
    completions = sorted(complete(decoder, requests), key=lambda completion: completion.ticket)
    passed = judge(asked, completions)
    by_task = [statistics.mean(passed[i : i + samples]) for i in range(0, len(passed), samples)]
    return {
        "tokens": statistics.mean(completion.n_tokens for completion in completions),
        "passed": statistics.mean(passed),
        "standard_error": statistics.stdev(by_task) / len(by_task) ** 0.5,
        "cut": statistics.mean(completion.finish == "length" for completion in completions),
    }


def judge(asked: list[Task], completions: list[Completion], *, tidy: bool = True) -> list[bool]:
    """Return for each answer whether it passes the hidden checks.

    With ``tidy`` the domain extracts the code from the reply. Without it the text of the reply is run as it is.
    """
    with TestRunner() as runner:
        codes = [
            DOMAIN.extract(completion.text, task).code if tidy else completion.text
            for task, completion in zip(asked, completions, strict=True)
        ]
        futures = [DOMAIN.judge(code, task, task.hidden, runner) for task, code in zip(asked, codes, strict=True)]
        return [future.result().passed for future in futures]


def request(model: Model, variant: Variant, task: Task, sample: int) -> Request:
    ids = model.render([{"role": "user", "content": variant.prompt(task)}], reply_prefix=variant.reply_prefix)
    seed = attempt_seed(0, task.id, "prompts", sample, 0)
    return Request(tuple(ids), MAX_TOKENS, TEMPERATURE, MIN_P, seed, variant.stop_text)


if __name__ == "__main__":
    main()
