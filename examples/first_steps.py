"""The library step by step, on a few tasks: draft, test, repair, train, evaluate.

    python examples/first_steps.py [MODEL] [FOLDER]

On two CPU cores this takes about four minutes with the default model.
"""

from __future__ import annotations

import sys

import mlx_selfdebug as sd

model_name = sys.argv[1] if len(sys.argv) > 1 else "qwen2.5-coder-0.5b"
folder = sys.argv[2] if len(sys.argv) > 2 else "runs/first-steps"
settings = {
    "model": model_name,
    "collect.samples": 4,
    "collect.max_tokens": 120,
    "train.max_pairs": 8,
    "eval.max_tokens": 160,
}

model = sd.load_model(model_name)
with sd.Run(folder, sd.resolve(overrides=settings, default_preset="cpu").config) as run:
    attempts = sd.collect(run, model, sd.load_tasks("starter").spread(6))
    for attempt in attempts[:4]:
        print(attempt.id, attempt.verdict.outcome)
    failed = next(attempt for attempt in attempts if attempt.verdict.failures)
    print("a failure, as facts:", failed.verdict.failures[0])
    if not run.pairs():
        sys.exit("no task was both failed and solved: nothing to learn from")
    adapter = sd.train(run, model)
    print(sd.evaluate(run, model, adapter, sd.load_tasks("humaneval").spread(3)))
