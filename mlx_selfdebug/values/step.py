"""Steps: what is recorded of one optimizer step of a training on pairs, and of a training by rewards."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mlx_selfdebug.notebook import Shown


@dataclass(frozen=True)
class Step(Shown):
    """One optimizer step of a training."""

    step: int
    """The step's number, from 0."""
    loss: float
    """The weighted mean of the supervised tokens' losses, in nats."""
    n_tokens: int
    """The number of supervised tokens."""
    learning_rate: float
    grad_norm: float
    """The norm of the gradient before it was clipped."""
    wall_s: float

    @property
    def skipped(self) -> bool:
        """Whether the loss or its gradient was not a number, so that the weights were left as they were."""
        return not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))

    def to_record(self) -> dict[str, Any]:
        """Return the step as a flat dictionary, for a table or a data frame."""
        return asdict(self)


@dataclass(frozen=True)
class RewardStep(Shown):
    """One step of a training by rewards: groups of completions, their rewards, and the update that followed."""

    step: int
    """The step's number, from 0."""
    n_groups: int
    """The number of prompts that were completed."""
    n_varied: int
    """The number of these groups whose completions did not all get the same reward. The others contribute nothing."""
    n_completions: int
    reward: float
    """The mean reward of all completions."""
    passed: float
    """The share of completions that pass all checks."""
    copies: float
    """The share of completions that are a verbatim copy of the failed program in their prompt."""
    n_tokens: float
    """The mean number of tokens of a completion."""
    loss: float
    """The loss whose gradient was taken, divided as the gradient is; 0 if no group contributed."""
    learning_rate: float
    grad_norm: float
    """The norm of the gradient before it was clipped; 0 if no group contributed."""
    rollouts_s: float
    """The seconds of decoding and testing, where what was stored by an earlier process took none."""
    tests_s: float
    """The part of these in which nothing was left to do but to wait for tests."""
    gradient_s: float
    """The seconds of the gradient and the update."""

    @property
    def varied_share(self) -> float:
        """Return the share of groups that contributed."""
        return self.n_varied / self.n_groups if self.n_groups else 0.0

    def to_record(self) -> dict[str, Any]:
        """Return the step as a flat dictionary, for a table or a data frame."""
        return asdict(self)
