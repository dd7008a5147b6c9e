"""Measure how far the logits of an exported model are from those of base and adapter.

Both read the same answers: references of starter tasks, each after its prompt. Nothing is decoded, so a token on which they differ
does not change what they are compared on afterwards.
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
"""The number of answers that are read."""
TOKENS = 16
"""The number of tokens of each answer whose logits are compared. All logits together take 150 MB for the default model."""
Logits: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """How far the logits of two models are apart."""

    n_tokens: int
    """The number of tokens at which they were compared."""
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
    """Return the logits of ``model`` at the first tokens of some answers, of shape (tokens, vocabulary)."""
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
    return Difference(len(expected), float(distance.mean()), float(distance.max()), float(same.mean()))


def _logits(model: Model, task: Task) -> Logits:
    domain = domain_of(task.domain)
    prompt = model.render([{"role": "user", "content": domain.prompt(task)}], reply_prefix=domain.reply_prefix)
    answer: Sequence[int] = model.encode(domain.completion(task.reference))[:TOKENS]
    logits = model.network(mx.array([[*prompt, *answer]]))
    # The logits for a token stand at the position before it.
    return np.array(logits[0, len(prompt) - 1 : -1].astype(mx.float32))
