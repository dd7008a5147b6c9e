"""Make the update of a reward step by the policy gradient of its groups. A group is the completions of one prompt.

The completions were drawn from the model as it is, so the ratio of new to old probabilities is 1 and nothing is clipped, as in the
first update of GRPO (Shao et al. 2024, arXiv 2402.03300). What is left is the lean loss (``loss.py``) with a signed weight per
completion. For completions i with advantages A[i] and tokens t, it is:

    loss = - (sum over i and t of A[i] log p(token t of i)) / (groups * completions * longest)

The divisor is the same in every step. It is the product of three settings: the number of groups per step, the number of completions
per group, and the largest number of tokens of a completion. Dividing by the tokens of each completion instead would favour short
right answers and long wrong ones. Dividing by the tokens of the step would make steps with little to learn as large as others
(Dr. GRPO: Liu et al. 2025, arXiv 2503.20783).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.distributed import ALONE, Group
from mlx_selfdebug.training.batches import micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.forms import training_forms
from mlx_selfdebug.training.loop import MAX_GRAD_NORM, StepShape
from mlx_selfdebug.training.loss import LossAndGradient, loss_and_gradient
from mlx_selfdebug.training.ranks import own_share, summed
from mlx_selfdebug.training.shared_prompt import can_share_prompt, shared_prompt_loss_and_gradient

WARMUP_UPDATES = 5
"""The number of updates in which the learning rate rises."""


@dataclass(frozen=True)
class Update:
    """The figures of one update."""

    loss: float
    """The loss whose gradient was taken, as the formula at the top of this module says."""
    grad_norm: float
    """The norm of the gradient before it was clipped."""
    learning_rate: float
    """The learning rate before the update."""

    @property
    def skipped(self) -> bool:
        """Whether the loss or the gradient was not finite, so that the weights were left as they were."""
        return not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


def reward_optimizer(config: TrainConfig) -> optim.Optimizer:
    """Return AdamW with a short linear warm-up and then a constant learning rate.

    A constant rate does not depend on how many steps will follow. There is no weight decay, which would pull the adapter back to
    the base in steps that teach little.
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
    shape: StepShape,
    ranks: Group = ALONE,
) -> Update:
    """Make one update of the weights, and return its figures. If the loss or gradient is not finite, the weights stay as they are.

    Args:
        network: the network, with the adapter that is trained.
        optimizer: the optimizer, as ``reward_optimizer`` returns it.
        groups: the examples of each group: at least one group, with at least one example each. The weight of an example's tokens is
            the advantage of the completion.
        config: the settings of training.
        shape: how much is computed and kept in memory at a time.
        ranks: the machines that divide the groups among themselves.
    """
    divisor = config.reward_prompts * config.reward_group_size * config.reward_max_tokens
    loss, gradient = 0.0, None
    with training_forms(network, recompute=shape.recompute):
        for examples in own_share(ranks, groups, [sum(len(e.ids) for e in examples) for examples in groups]):
            part = group_loss_and_gradient(network, examples, shape.max_tokens, config.reward_kl)
            gradient = part.gradient if gradient is None else tree_map(mx.add, gradient, part.gradient)
            mx.eval(gradient)
            loss += part.loss
    loss, gradient = summed(ranks, network, loss, gradient)
    gradient, norm = optim.clip_grad_norm(tree_map(lambda array: array / divisor, gradient), MAX_GRAD_NORM)
    mx.eval(gradient, norm)
    figures = Update(loss / divisor, float(norm.item()), float(optimizer.learning_rate.item()))
    if not figures.skipped:
        optimizer.update(network, gradient)
        mx.eval(network.trainable_parameters(), optimizer.state)
    return figures


def group_loss_and_gradient(
    network: nn.Module, examples: Sequence[Example], max_tokens: int, base_weight: float
) -> LossAndGradient:
    """Return the summed loss of a group and its gradient. The prompt is computed once if the network allows that.

    At most ``max_tokens`` tokens are computed at a time. ``base_weight`` is the weight of the divergence from the base, which is
    left out if the prompt cannot be computed once.
    """
    if can_share_prompt(network, examples):
        return shared_prompt_loss_and_gradient(network, examples, max_tokens, base_weight=base_weight)
    parts = [loss_and_gradient(network, batch) for batch in micro_batches(examples, max_tokens)]
    loss, gradient = parts[0].loss, parts[0].gradient
    for part in parts[1:]:
        loss += part.loss
        gradient = tree_map(mx.add, gradient, part.gradient)
    mx.eval(gradient)
    return LossAndGradient(loss, gradient)
