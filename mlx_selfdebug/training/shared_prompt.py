"""Compute the loss of several completions of one prompt and its gradient, with the prompt computed once for all of them.

If eight completions of 70 tokens have a prompt of 250 tokens, seven of ten tokens in eight separate rows are copies of the prompt.
Here the prompt goes through the trunk once, forward and backward, and the completions go on from its keys and values (or its
recurrent state). The loss and the gradient are the same as for separate rows, up to rounding.

The idea comes from Prefix Grouper (Liu et al. 2025, arXiv 2506.05433). The computation is arranged differently, so that it takes no
more memory than separate rows:

1. The trunk computes the states S that the layers keep of the prompt. The graph of this computation is kept.
2. The completions follow, some rows at a time. For these rows, the loss, its gradient with respect to the adapter and its gradient
   with respect to S are computed, with S as a constant. Everything else is freed before the next rows are begun.
3. The gradients with respect to S are summed and pulled back through the graph of the prompt. This is the chain rule with the
   completions cut out, just as ``loss.py`` cuts out the head. The adapter's gradient is the sum of both parts.

The last token of the prompt is computed with each completion, because it predicts the first token of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

from mlx.utils import tree_flatten, tree_map

from mlx_selfdebug.models.trunk import Parts, parts_of
from mlx_selfdebug.training.adapter import without_adapter
from mlx_selfdebug.training.batches import MicroBatch, micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.loss import HEAD_ROWS, LossAndGradient, Targets, states_at, through_head
from mlx_selfdebug.training.prompt_states import Arrays, can_share, states_of


def can_share_prompt(network: nn.Module, examples: Sequence[Example]) -> bool:
    """Return whether all ``examples`` have the same prompt, of at least two tokens, and the network can compute it once."""
    first = examples[0]
    prompt = first.ids[: first.start]
    return (
        len(prompt) > 1 and can_share(network) and all(example.ids[: example.start] == prompt for example in examples)
    )


def shared_prompt_loss_and_gradient(
    network: nn.Module,
    examples: Sequence[Example],
    max_tokens: int,
    *,
    base_weight: float = 0.0,
    head_rows: int = HEAD_ROWS,
) -> LossAndGradient:
    """Return the weighted sum of the losses of ``examples``, which have one prompt, and its gradient, both evaluated.

    At most ``max_tokens`` tokens are in memory at a time, including the prompt and padding, unless the prompt and one completion
    have more. ``base_weight`` is the weight of the divergence KL(base || network) at each token of the completions. The base is the
    network without its adapter, and reads the same prompt. ``can_share_prompt`` must be true of ``examples``.
    """
    parts = parts_of(network)
    assert parts is not None
    shared, batches = _split(examples, max_tokens)
    base = _base_states(network, shared, batches) if base_weight else [None] * len(batches)

    def surrogate_and_results(_: nn.Module) -> tuple[mx.array, mx.array, Any]:
        """Return a surrogate, and the loss and gradient of the completions.

        A surrogate is a number that is computed only for its gradient. Here it is the part that flows through the prompt's states.
        """
        kept = _prompt_states(network, parts, shared)
        constant = tree_map(mx.stop_gradient, kept)
        summed: Any = None
        for batch, base_states in zip(batches, base, strict=True):
            targets = _targets(batch, base_states, base_weight)
            part = _completions_loss(network, parts, constant, batch, targets, head_rows)
            summed = part if summed is None else tree_map(mx.add, summed, part)
            # Without this dependency MLX would hold the activations of several batches at once.
            constant = _depend_on(summed, constant)
        loss, gradient, slopes = tree_map(mx.stop_gradient, summed)
        products = tree_map(lambda array, slope: mx.sum(array.astype(mx.float32) * slope), kept, slopes)
        return sum((product for _, product in tree_flatten(products)), mx.array(0.0)), loss, gradient

    # Nothing is evaluated while the loss is traced: MLX would keep it until the end (see loss.py).
    (_, loss, gradient), through_prompt = nn.value_and_grad(network, surrogate_and_results)(network)
    total = tree_map(mx.add, gradient, through_prompt)
    mx.eval(loss, total)
    return LossAndGradient(float(loss.item()), total)


def _split(examples: Sequence[Example], max_tokens: int) -> tuple[tuple[int, ...], list[MicroBatch]]:
    """Return the tokens that are computed once, and the remaining tokens of all rows in micro-batches of similar lengths."""
    n = examples[0].start - 1
    rests = [replace(example, ids=example.ids[n:], start=1, base_prompt=()) for example in examples]
    return examples[0].ids[:n], micro_batches(rests, max(1, max_tokens - n), rounded=False)


def _prompt_states(network: nn.Module, parts: Parts, ids: tuple[int, ...]) -> list[Arrays]:
    """Return what each layer keeps of a prompt of the tokens ``ids``."""
    states = states_of(network)
    parts.trunk(mx.array([ids]), cache=states)
    return [state.kept for state in states]


def _hidden(network: nn.Module, parts: Parts, kept: list[Arrays], batch: MicroBatch) -> mx.array:
    """Return the hidden states that predict the batch's supervised tokens, (n, hidden). ``kept`` holds the states of the prompt."""
    states = states_of(network, kept, len(batch.ids))
    return states_at(parts.trunk(mx.array(batch.ids), cache=states), batch.positions)


def _completions_loss(
    network: nn.Module, parts: Parts, kept: list[Arrays], batch: MicroBatch, targets: Targets, head_rows: int
) -> tuple[mx.array, Any, list[Arrays]]:
    """Return the loss of some completions, and its gradients with respect to the adapter and to ``kept`` in float32."""
    parameters = network.trainable_parameters()

    def surrogate_and_loss(parameters: Any, kept: list[Arrays]) -> tuple[mx.array, mx.array]:
        """Return the loss, after a surrogate with the same gradient whose graph leaves the head out (see loss.py)."""
        network.update(parameters)
        hidden = _hidden(network, parts, kept, batch)
        loss, slope = through_head(parts.head, mx.stop_gradient(hidden), targets, head_rows)
        return mx.sum(hidden.astype(mx.float32) * mx.stop_gradient(slope)), loss

    (_, loss), (gradient, slopes) = mx.value_and_grad(surrogate_and_loss, argnums=(0, 1))(parameters, kept)
    # ``mx.value_and_grad`` left its traced arrays in the network; put the real ones back.
    network.update(parameters)
    return loss, gradient, tree_map(lambda slope: slope.astype(mx.float32), slopes)


def _depend_on(earlier: Any, states: list[Arrays]) -> list[Arrays]:
    """Return ``states``, to be used only after all arrays in the tree ``earlier`` have been computed."""
    leaves = [array for _, array in tree_flatten(earlier)]
    return [mx.depends(arrays, leaves) for arrays in states]


def _targets(batch: MicroBatch, base: mx.array | None, base_weight: float) -> Targets:
    """Return the targets of ``batch``. With hidden states of the base, the divergence has ``base_weight`` at every token."""
    ids, weights = mx.array(batch.targets), mx.array(batch.weights)
    return Targets(ids, weights) if base is None else Targets(ids, weights, mx.full(weights.shape, base_weight), base)


def _base_states(network: nn.Module, shared: tuple[int, ...], batches: Sequence[MicroBatch]) -> list[mx.array | None]:
    """Return the base's hidden states for each of ``batches``, evaluated one batch after the other."""
    with without_adapter(network):
        parts = parts_of(network)
        assert parts is not None
        kept = _prompt_states(network, parts, shared)
        states: list[mx.array | None] = []
        for batch in batches:
            states.append(_hidden(network, parts, kept, batch))
            mx.eval(states[-1])
    return states
