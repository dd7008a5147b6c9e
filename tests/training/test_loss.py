from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training.adapter import without_adapter
from mlx_selfdebug.training.batches import MicroBatch, micro_batches
from mlx_selfdebug.training.examples import Example, change_weights, encode_pair, encode_pairs
from mlx_selfdebug.training.loss import loss_and_gradient, plain_loss
from mlx_selfdebug.training.recompute import recomputed
from mlx_selfdebug.values.pair import Pair

PAIR = Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))
ARCHITECTURES = ["qwen2", "llama", "qwen3", "qwen3_5"]


def examples(n: int = 5, longest: int = 90) -> list[Example]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, longest, n)
    rows = [(tuple(int(i) for i in rng.integers(0, 256, k)), int(rng.integers(1, k - 1))) for k in lengths]
    # Every other one has weights, some of them 0 or less.
    return [
        Example(ids, start, "", tuple(rng.choice([-0.5, 0.0, 0.2, 1.0], len(ids) - start)) if i % 2 else ())
        for i, (ids, start) in enumerate(rows)
    ]


def with_lora(folder: Path, architecture: str, kind: str) -> Any:
    """A tiny network with LoRA layers whose B is not zero, so that every adapter weight has a gradient."""
    network = tiny_model(folder, architecture=architecture, layers=4).network
    if kind == "4 bit":
        nn.quantize(network, group_size=32, bits=4)
    if kind == "bfloat16":
        network.set_dtype(mx.bfloat16)
    network.freeze()
    mx.random.seed(3)
    linear_to_lora_layers(network, 4, {"rank": 4, "scale": 2.0, "dropout": 0.0})
    network.apply_to_modules(
        lambda name, m: m.update({"lora_b": mx.random.normal(m.lora_b.shape) * 0.05}) if "lora_b" in m else None
    )
    network.train()
    return network


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "4 bit"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_lean_loss_and_its_gradient_are_the_plain_ones(tmp_path: Path, architecture: str, kind: str) -> None:
    network = with_lora(tmp_path, architecture, kind)
    batch = micro_batches(examples(), 10_000)[0]
    plain, wanted = nn.value_and_grad(network, plain_loss)(network, batch)
    lean = loss_and_gradient(network, batch, head_rows=7)
    tolerance = 1e-5 if kind != "bfloat16" else 2e-2
    assert lean.loss == pytest.approx(plain.item(), rel=tolerance)
    got = dict(tree_flatten(lean.gradient))
    for name, gradient in tree_flatten(wanted):
        difference, size = mx.max(mx.abs(got[name] - gradient)).item(), mx.max(mx.abs(gradient)).item()
        assert difference <= tolerance * max(size, 1.0), name


def imitating(all_examples: list[Example]) -> list[Example]:
    """The examples, two of three of which imitate the base on prompts of their own."""
    return [replace(e, base_prompt=(7,) * (3 + i)) if i % 3 else e for i, e in enumerate(all_examples)]


def base_logits(network: Any, batch: MicroBatch) -> mx.array:
    """What the base computes where the batch imitates it, from the logits of the whole network."""
    assert batch.base is not None
    with without_adapter(network):
        logits = network(mx.array(batch.base.ids))
    return logits.reshape(-1, logits.shape[-1])[mx.array(batch.base.positions)]


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "4 bit"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_lean_loss_that_imitates_the_base_is_the_plain_one(tmp_path: Path, architecture: str, kind: str) -> None:
    network = with_lora(tmp_path, architecture, kind)
    (batch,) = micro_batches(imitating(examples()), 10_000)
    base = base_logits(network, batch)
    plain, wanted = nn.value_and_grad(
        network, lambda model: plain_loss(model, batch, distilled_share=0.4, base_logits=base)
    )(network)
    lean = loss_and_gradient(network, batch, distilled_share=0.4, head_rows=7)
    tolerance = 1e-5 if kind != "bfloat16" else 2e-2
    assert lean.loss == pytest.approx(plain.item(), rel=tolerance)
    got = dict(tree_flatten(lean.gradient))
    for name, gradient in tree_flatten(wanted):
        difference, size = mx.max(mx.abs(got[name] - gradient)).item(), mx.max(mx.abs(gradient)).item()
        assert difference <= tolerance * max(size, 1.0), name


def test_a_network_whose_trunk_is_not_known_imitates_the_base_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    (batch,) = micro_batches(imitating(examples()), 10_000)
    lean = loss_and_gradient(network, batch, distilled_share=0.4).loss
    monkeypatch.setattr("mlx_selfdebug.models.trunk.PLAIN_HEADS", frozenset())
    assert loss_and_gradient(network, batch, distilled_share=0.4).loss == pytest.approx(lean, rel=1e-5)


def test_a_model_that_is_still_the_base_has_nothing_to_learn_from_imitating_it(tiny: Any) -> None:
    prompt = (5, 9, 60)
    (batch,) = micro_batches([Example((*prompt, 61, 62, 258), 3, base_prompt=prompt)], 1)
    assert loss_and_gradient(tiny.network, batch, distilled_share=1.0).loss == pytest.approx(0.0, abs=1e-5)


def test_an_adapter_that_is_taken_out_for_a_block_is_the_same_afterwards(tmp_path: Path) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    ids = mx.array([[1, 2, 3, 4]])
    adapted, modules = network(ids), dict(network.named_modules())
    with without_adapter(network):
        base = network(ids)
        assert not any("lora_a" in module for _, module in network.named_modules())
    assert dict(network.named_modules()) == modules
    assert mx.array_equal(network(ids), adapted).item()
    assert not mx.allclose(base, adapted).item()


def test_layers_that_recompute_give_the_same_gradient_and_are_themselves_again(tmp_path: Path) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    batch = micro_batches(examples(), 10_000)[0]
    kinds = [type(layer) for layer in network.layers]
    remembered = dict(tree_flatten(loss_and_gradient(network, batch).gradient))
    with recomputed(network.layers):
        computed = dict(tree_flatten(loss_and_gradient(network, batch).gradient))
    assert all(mx.allclose(remembered[name], computed[name], atol=1e-5).item() for name in remembered)
    assert [type(layer) for layer in network.layers] == kinds


def test_a_network_whose_trunk_is_not_known_gives_the_same_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = with_lora(tmp_path, "qwen2", "float32")
    batch = micro_batches(examples(), 10_000)[0]
    lean = loss_and_gradient(network, batch).loss
    monkeypatch.setattr("mlx_selfdebug.models.trunk.PLAIN_HEADS", frozenset())
    assert loss_and_gradient(network, batch).loss == pytest.approx(lean, rel=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_completion_alone(tiny: Any) -> None:
    example = Example((5, 9, 60, 61, 62, 258), 2)
    logits = tiny.network(mx.array(example.ids)[None])[0]
    by_hand = -sum(nn.log_softmax(logits[i - 1])[example.ids[i]].item() for i in range(2, 6))
    (batch,) = micro_batches([example], 1)
    assert plain_loss(tiny.network, batch).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_token_counts_in_the_loss_by_its_weight(tiny: Any) -> None:
    def loss(*weights: float) -> float:
        (batch,) = micro_batches([Example((5, 9, 60, 61), 2, "", weights)], 1)
        return loss_and_gradient(tiny.network, batch).loss

    assert loss(0.5, -2.0) == pytest.approx(0.5 * loss(1.0, 0.0) - 2.0 * loss(0.0, 1.0), rel=1e-5)


def test_tokens_copied_from_the_failed_code_weigh_less_than_those_that_change_it() -> None:
    assert change_weights([1, 2, 3, 4], [1, 9, 3, 4], 0.2) == (0.2, 1.0, 0.2, 0.2)
    assert change_weights([1, 2, 3], [1, 2, 7, 8, 3], 0.0) == (0.0, 0.0, 1.0, 1.0, 0.0)


def test_where_tokens_are_left_out_the_one_that_follows_instead_is_the_change() -> None:
    assert change_weights([1, 2, 3, 4], [1, 4], 0.0) == (0.0, 1.0)
    assert change_weights([1, 2, 3], [1], 0.5) == (1.0,)


def test_a_pair_s_failed_code_is_looked_up_by_its_first_attempt(tiny: Any) -> None:
    target = "def f(): return 1\n```"
    pairs = [Pair(kind, "python", "t", "Mend f.", target, ("bad", "good")) for kind in ("repair", "bug", "keep")]
    (repair, bug, keep), _ = encode_pairs(tiny, pairs, 500, {"bad": "def f(): return 2\n", "good": "x"}, 0.25)
    assert repair.weights == bug.weights
    assert sum(weight == 1 for weight in repair.weights) == 1
    assert set(repair.weights) == {0.25, 1.0}
    assert keep.weights == ()


def test_a_target_that_only_copies_is_learned_like_any_other(tiny: Any) -> None:
    assert encode_pair(tiny, PAIR, "def f(): return 1", 0.0).weights == ()


def test_a_row_has_the_same_loss_alone_and_beside_longer_ones(tiny: Any) -> None:
    several = examples()
    alone = sum(plain_loss(tiny.network, micro_batches([e], 1)[0]).item() for e in several)
    together: list[MicroBatch] = micro_batches(several, 10_000)
    assert len(together) == 1
    assert plain_loss(tiny.network, together[0]).item() == pytest.approx(alone, rel=1e-5)


def test_an_example_is_the_sampling_prompt_then_the_completion_then_the_end_of_turn(tiny: Any) -> None:
    example = encode_pair(tiny, PAIR)
    prompt = tiny.render([{"role": "user", "content": PAIR.prompt}], reply_prefix="```python\n")
    assert list(example.ids[: example.start]) == prompt
    assert tiny.decode(example.ids[example.start : -1]) == PAIR.target
    assert example.ids[-1] in tiny.eos_ids
    assert example.n_supervised == len(tiny.encode(PAIR.target)) + 1


def test_an_example_that_imitates_the_base_has_the_prompt_of_the_task_alone(tiny: Any) -> None:
    pair = replace(PAIR, prompt="Mend f.", task_prompt="Write f.")
    prompt = tiny.render([{"role": "user", "content": "Write f."}], reply_prefix="```python\n")
    assert list(encode_pair(tiny, pair, distilled=True).base_prompt) == prompt
    assert encode_pair(tiny, pair).base_prompt == ()


def test_a_control_token_named_in_a_target_ends_no_turn(tiny: Any) -> None:
    example = encode_pair(tiny, replace(PAIR, target='END = "<|im_end|>"\n```'))
    assert [id_ for id_ in example.ids[example.start :] if id_ in tiny.eos_ids] == [tiny.tokenizer.eos_token_id]
    assert tiny.decode(example.ids[example.start : -1]) == 'END = "<|im_end|>"\n```'


def test_pairs_beyond_the_longest_length_are_left_out_and_named(tiny: Any) -> None:
    long = Pair("direct", "python", "long", "Write f." * 100, "x", ("a",))
    kept, left_out = encode_pairs(tiny, [PAIR, long], 200)
    assert len(kept) == 1
    assert left_out == [long]


def test_what_the_lean_loss_traces_is_not_kept_to_the_end_and_recomputing_keeps_less(tmp_path: Path) -> None:
    """An evaluation in mid-trace once kept every array of every layer: more than twice the plain loss's memory."""
    network = with_lora(tmp_path, "qwen2", "float32")
    (batch,) = micro_batches(examples(8, longest=500), 10**6)

    def peak(compute: Callable[[], Any]) -> int:
        mx.synchronize()
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        found = compute()
        mx.eval(found)
        return int(mx.get_peak_memory() - before)

    lean = peak(lambda: loss_and_gradient(network, batch).gradient)
    plain = peak(lambda: nn.value_and_grad(network, plain_loss)(network, batch))
    with recomputed(network.layers):
        recomputing = peak(lambda: loss_and_gradient(network, batch).gradient)
    assert lean < 1.1 * plain  # with a vocabulary of 259 the head is nothing
    assert recomputing < 0.8 * lean
