"""Completions that share one computation of their prompt have the loss and the gradient of separate rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_selfdebug.training.adapter import without_adapter
from mlx_selfdebug.training.batches import MicroBatch, micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.forms import training_forms
from mlx_selfdebug.training.loss import loss_and_gradient, plain_loss
from mlx_selfdebug.training.shared_prompt import can_share_prompt, shared_prompt_loss_and_gradient

from .test_loss import ARCHITECTURES, with_lora


def group(prompt_length: int = 150, n: int = 8) -> list[Example]:
    """Completions of one prompt, of different lengths and with weights of both signs."""
    rng = np.random.default_rng(1)
    prompt = tuple(int(i) for i in rng.integers(0, 256, prompt_length))
    completions = [tuple(int(i) for i in rng.integers(0, 256, rng.integers(1, 60))) for _ in range(n)]
    advantages = rng.choice([-0.25, 0.75], n)
    return [
        Example((*prompt, *ids), prompt_length, "", (float(advantage),) * len(ids))
        for ids, advantage in zip(completions, advantages, strict=True)
    ]


def largest_difference(got: Any, wanted: Any) -> float:
    """The largest difference between two gradients, as a share of the largest number of each array."""
    found = dict(tree_flatten(got))
    return max(
        mx.max(mx.abs(found[name] - array)).item() / max(mx.max(mx.abs(array)).item(), 1.0)
        for name, array in tree_flatten(wanted)
    )


def separate(network: Any, examples: list[Example], **options: Any) -> Any:
    (batch,) = micro_batches(examples, 10**6)
    return loss_and_gradient(network, batch, **options)


@pytest.mark.parametrize(("max_tokens", "recompute"), [(10_000, False), (250, False), (250, True), (1, False)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shared_prompt_gives_the_gradients_of_separate_rows(
    tmp_path: Path, architecture: str, max_tokens: int, recompute: bool
) -> None:
    network = with_lora(tmp_path, architecture, "float32")
    examples = group()
    wanted = separate(network, examples)
    assert can_share_prompt(network, examples)
    with training_forms(network, recompute=recompute):
        got = shared_prompt_loss_and_gradient(network, examples, max_tokens)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert largest_difference(got.gradient, wanted.gradient) <= 1e-5


@pytest.mark.parametrize("kind", ["bfloat16", "4 bit"])
def test_a_shared_prompt_gives_the_gradients_of_separate_rows_in_other_kinds_of_weights(
    tmp_path: Path, kind: str
) -> None:
    network = with_lora(tmp_path, "qwen2", kind)
    wanted = separate(network, group())
    with training_forms(network, recompute=False):
        got = shared_prompt_loss_and_gradient(network, group(), 250)
    assert largest_difference(got.gradient, wanted.gradient) <= (1e-5 if kind == "4 bit" else 6e-2)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3_5"])
def test_the_divergence_from_the_base_is_that_of_separate_rows(tmp_path: Path, architecture: str) -> None:
    network = with_lora(tmp_path, architecture, "float32")
    examples = group()
    (batch,) = micro_batches(examples, 10**6)
    with without_adapter(network):
        base = at(network(mx.array(batch.ids)), batch)

    def plain(model: Any) -> mx.array:
        logits = at(model(mx.array(batch.ids)), batch)
        divergence = nn.losses.kl_div_loss(nn.log_softmax(logits), nn.log_softmax(base), axis=-1)
        return plain_loss(model, batch) + 0.3 * divergence.sum()

    loss, wanted = nn.value_and_grad(network, plain)(network)
    got = shared_prompt_loss_and_gradient(network, examples, 250, base_weight=0.3)
    assert got.loss == pytest.approx(loss.item(), rel=1e-5)
    assert largest_difference(got.gradient, wanted) <= 1e-5


def at(logits: mx.array, batch: MicroBatch) -> mx.array:
    return logits.reshape(-1, logits.shape[-1])[mx.array(batch.positions)]


def test_prompts_that_differ_or_are_a_single_token_are_not_shared(tmp_path: Path) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    same = [Example((1, 2, 3), 2), Example((1, 2, 4, 5), 2)]
    assert can_share_prompt(network, same)
    assert not can_share_prompt(network, [*same, Example((1, 3, 4), 2)])
    assert not can_share_prompt(network, [Example((1, 2), 1)])


def test_a_network_whose_trunk_is_not_known_shares_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    monkeypatch.setattr("mlx_selfdebug.models.trunk.PLAIN_HEADS", frozenset())
    assert not can_share_prompt(network, group())


def test_the_network_is_as_it_was_and_can_be_trained_on(tmp_path: Path) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    before = {name: mx.array(array) for name, array in tree_flatten(network.parameters())}
    first = shared_prompt_loss_and_gradient(network, group(), 250)
    after = dict(tree_flatten(network.parameters()))
    assert all(mx.array_equal(after[name], array).item() for name, array in before.items())
    assert shared_prompt_loss_and_gradient(network, group(), 250).loss == first.loss


def test_a_shared_prompt_takes_no_more_memory_than_rows_of_as_many_tokens(tmp_path: Path) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    examples = group(600, 8)

    def peak(compute: Callable[[], Any]) -> int:
        mx.synchronize()
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        compute()
        return int(mx.get_peak_memory() - before)

    def rows() -> None:
        for batch in micro_batches(examples, 700):
            loss_and_gradient(network, batch)

    with training_forms(network, recompute=False):
        shared = peak(lambda: shared_prompt_loss_and_gradient(network, examples, 700))
        assert shared <= 1.05 * peak(rows)
