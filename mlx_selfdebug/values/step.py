"""A step: what is recorded of one optimizer step of a training."""

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
