"""Measure how far the logits of an exported model are from those of the base model with the adapter.

Both models read the same texts: the prompts of starter tasks, each followed by the task's reference. Neither model generates
anything. So if the two prefer different tokens at one place, they still read the same tokens after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mlx_selfdebug.models.backend import mx

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model
from mlx_selfdebug.progress import NullProgress, Progress
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.task import Task

TASKS = 16
"""The number of references that are read."""
TOKENS = 16
"""The number of tokens at the beginning of each reference whose logits are compared.

For the default model, the logits at all of these tokens take 150 MB.
"""
Logits: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """The difference between the logits of two models."""

    n_tokens: int
    """The number of tokens at which the logits were compared."""
    mean_difference: float
    """The mean absolute difference of a logit."""
    max_difference: float
    """The largest absolute difference of a logit."""
    same_share: float
    """The share of the tokens at which both models find the same token likeliest."""

    def __str__(self) -> str:
        return (
            f"logits differ by {self.mean_difference:.4f} on average and by {self.max_difference:.2f} at most; "
            f"the likeliest token is the same at {self.same_share:.1%} of {self.n_tokens} tokens"
        )


def answer_logits(model: Model, progress: Progress | None = None) -> Logits:
    """Return the logits of ``model`` at the first tokens of some references, as an array of shape (tokens, vocabulary)."""
    tasks = load_tasks("starter").spread(TASKS)
    with (progress or NullProgress()).stage("compare", len(tasks), "answers") as stage:
        rows = []
        for task in tasks:
            rows.append(_logits(model, task))
            stage.advance()
    return np.concatenate(rows)


def compare_logits(expected: Logits, got: Logits) -> Difference:
    """Return how far two models are apart, from their logits at the same tokens."""
    distance = np.abs(got - expected)
    same = expected.argmax(axis=1) == got.argmax(axis=1)
    return Difference(
        n_tokens=len(expected),
        mean_difference=float(distance.mean()),
        max_difference=float(distance.max()),
        same_share=float(same.mean()),
    )


def _logits(model: Model, task: Task) -> Logits:
    """Return the logits at the first tokens of the task's reference, as an array of shape (tokens, vocabulary)."""
    domain = domain_of(task.domain)
    prompt = model.render([{"role": "user", "content": domain.prompt(task)}], reply_prefix=domain.reply_prefix)
    reference: Sequence[int] = model.encode(domain.completion(task.reference))[:TOKENS]
    logits = model.network(mx.array([[*prompt, *reference]]))
    # The logits that predict a token are at the position before it.
    return np.array(logits[0, len(prompt) - 1 : -1].astype(mx.float32))
