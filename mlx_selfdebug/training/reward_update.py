"""Make the update of a reward step: the policy gradient of its groups.

The completions were drawn from the model as it is, so the ratio of new to old probabilities is 1 and nothing is clipped (GRPO, Shao
et al. 2024, arXiv 2402.03300, at its first update). What is left is the lean loss with a signed weight per completion:

    loss = - sum over completions i and their tokens t of  A[i] log p(token t of i)  / (groups * completions * longest)

The divisor is the same in every step: the numbers of groups and completions that are asked for, and the largest number of tokens of
a completion. Dividing by the tokens of each completion instead would favour short right answers and long wrong ones, and dividing
by those of the step would make steps with little to learn as large as others (Dr. GRPO, Liu et al. 2025, arXiv 2503.20783).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.training.batches import micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.forms import training_forms
from mlx_selfdebug.training.loop import MAX_GRAD_NORM, Shape
from mlx_selfdebug.training.loss import LossAndGradient, loss_and_gradient
from mlx_selfdebug.training.shared_prompt import can_share_prompt, shared_prompt_loss_and_gradient

WARMUP_UPDATES = 5


@dataclass(frozen=True)
class Update:
    """What one update was made of."""

    loss: float
    grad_norm: float
    """The norm of the gradient before it was clipped."""
    learning_rate: float

    @property
    def skipped(self) -> bool:
        """Whether the loss or the gradient was not a number, so that the weights were left as they were."""
        return not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


def reward_optimizer(config: TrainConfig) -> optim.Optimizer:
    """Return AdamW with a short linear warm-up and a constant rate, so that nothing depends on how many steps will follow.

    There is no weight decay, which would pull the adapter back to the base in steps that teach nothing.
    """
    rate = config.reward_learning_rate
    rising = optim.linear_schedule(rate / WARMUP_UPDATES, rate, WARMUP_UPDATES)
    schedule = optim.join_schedules([rising, lambda _: mx.array(rate)], [WARMUP_UPDATES])
    return optim.AdamW(learning_rate=schedule, weight_decay=0.0, bias_correction=True)


def update(
    network: nn.Module,
    optimizer: optim.Optimizer,
    groups: Sequence[Sequence[Example]],
    config: TrainConfig,
    shape: Shape,
) -> Update:
    """Make one update from the examples of the groups that have something to teach. There must be at least one."""
    divisor = config.reward_prompts * config.reward_group_size * config.reward_max_tokens
    loss, summed = 0.0, None
    with training_forms(network, recompute=shape.recompute):
        for examples in groups:
            part = group_loss_and_gradient(network, examples, shape.max_tokens, config.reward_kl)
            summed = part.gradient if summed is None else tree_map(mx.add, summed, part.gradient)
            mx.eval(summed)
            loss += part.loss
    gradient, norm = optim.clip_grad_norm(tree_map(lambda g: g / divisor, summed), MAX_GRAD_NORM)
    mx.eval(gradient, norm)
    made = Update(loss / divisor, float(norm.item()), float(optimizer.learning_rate.item()))
    if not made.skipped:
        optimizer.update(network, gradient)
        mx.eval(network.trainable_parameters(), optimizer.state)
    return made


def group_loss_and_gradient(
    network: nn.Module, examples: Sequence[Example], max_tokens: int, base_weight: float
) -> LossAndGradient:
    """Return the summed loss of a group and its gradient. Where it can be, the prompt is computed once.

    ``base_weight`` is that of the divergence from the base, which has an effect only where the prompt is shared.
    """
    if can_share_prompt(network, examples):
        return shared_prompt_loss_and_gradient(network, examples, max_tokens, base_weight=base_weight)
    parts = [loss_and_gradient(network, batch) for batch in micro_batches(examples, max_tokens)]
    loss, summed = parts[0].loss, parts[0].gradient
    for part in parts[1:]:
        loss += part.loss
        summed = tree_map(mx.add, summed, part.gradient)
    mx.eval(summed)
    return LossAndGradient(loss, summed)
