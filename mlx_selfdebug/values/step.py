"""Define ``Step`` and ``RewardStep``, the records of one optimizer step: of training on pairs, and of training by rewards."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mlx_selfdebug.notebook import Shown


@dataclass(frozen=True)
class Step(Shown):
    """One optimizer step of training on pairs."""

    step: int
    """The step's number, from 0."""
    loss: float
    """The weighted mean of the supervised tokens' losses, in nats."""
    n_tokens: int
    """The number of supervised tokens in the step's batches."""
    learning_rate: float
    """The learning rate of the update. A skipped step made no update, and has the learning rate of the update before it."""
    grad_norm: float
    """The norm of the gradient before it was clipped."""
    wall_s: float
    """The time that the step took, in seconds."""

    @property
    def skipped(self) -> bool:
        """Whether the step left the weights unchanged because its loss or gradient was not a finite number."""
        return not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame."""
        return asdict(self)


@dataclass(frozen=True)
class RewardStep(Shown):
    """One step of training by rewards: groups of completions, their rewards, and the update that followed.

    A group holds the completions of one prompt.
    """

    step: int
    """The step's number, from 0."""
    n_groups: int
    """The number of groups."""
    n_varied: int
    """The number of groups whose completions did not all get the same reward. The other groups contribute nothing to the update."""
    n_completions: int
    """The number of completions in all groups."""
    reward: float
    """The mean reward of all completions."""
    passed: float
    """The share of completions that pass all checks, from 0 to 1."""
    copies: float
    """The share of completions that copy the failed program in their prompt, from 0 to 1."""
    n_tokens: float
    """The mean number of decoded tokens per completion."""
    loss: float
    """The loss that the update descended; 0 if no group contributed or the update was skipped."""
    learning_rate: float
    """The learning rate of the update. A step that made no update has the learning rate of the update before it."""
    grad_norm: float
    """The norm of the gradient before it was clipped; 0 if no group contributed or the update was skipped."""
    rollouts_s: float
    """The seconds that decoding and testing took. Completions that an earlier process stored add nothing to it."""
    tests_s: float
    """The part of ``rollouts_s`` that was spent only waiting for tests."""
    gradient_s: float
    """The seconds that the gradient and the update took."""

    @property
    def varied_share(self) -> float:
        """The share of groups that contributed to the update, or 0 if there are no groups."""
        return self.n_varied / self.n_groups if self.n_groups else 0.0

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame."""
        return asdict(self)
