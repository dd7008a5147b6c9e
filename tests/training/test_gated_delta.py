"""The recurrence by chunks against mlx-lm's loop over tokens: outputs, last states, and gradients of all that goes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.models import gated_delta, qwen3_5, qwen3_next

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training import gated_delta as ours
from mlx_selfdebug.training import loop
from mlx_selfdebug.training.adapter import insert_adapter
from mlx_selfdebug.training.batches import micro_batches
from mlx_selfdebug.training.examples import Example
from mlx_selfdebug.training.gated_delta import CHUNK, chunked_gated_delta, chunked_gated_delta_ops, unit_lower_inverse
from mlx_selfdebug.training.loss import loss_and_gradient
from mlx_selfdebug.training.recompute import recomputed

THEIRS = gated_delta.gated_delta_ops
TOLERANCE = 1e-4
DECAYS: dict[str, Callable[..., mx.array]] = {
    "any": lambda shape, key: mx.random.uniform(0, 1, shape, key=key),
    "near 1": lambda shape, key: 1 - 1e-4 * mx.random.uniform(0, 1, shape, key=key),
    "1": lambda shape, key: mx.ones(shape),
    "near 0": lambda shape, key: 1e-6 * mx.random.uniform(0, 1, shape, key=key),
    "strong and weak": lambda shape, key: mx.where(mx.random.bernoulli(0.3, shape, key=key), 1e-20, 0.999),
    "log-uniform": lambda shape, key: mx.exp(-mx.exp(mx.random.uniform(-8, 4, shape, key=key))),
}


def inputs(
    length: int,
    *,
    decay: str = "any",
    batch: int = 2,
    key_heads: int = 2,
    heads: int = 2,
    key_size: int = 16,
    with_state: bool = False,
    with_mask: bool = False,
    seed: int = 0,
) -> list[Any]:
    """What the function is called with: q, k, v, g, beta, state, mask; keys and queries as a layer makes them."""
    keys = mx.random.split(mx.random.key(seed), 7)
    q, k = (mx.random.normal((batch, length, key_heads, key_size), key=key) for key in keys[:2])
    q, k = gated_delta.normalize_qk(q, k, inv_scale=key_size**-0.5, eps=1e-6)
    v = mx.random.normal((batch, length, heads, 8), key=keys[2])
    g = DECAYS[decay]((batch, length, heads), keys[3])
    beta = mx.random.uniform(0, 1, (batch, length, heads), key=keys[4])
    state = mx.random.normal((batch, heads, 8, key_size), key=keys[5]) if with_state else None
    mask = mx.random.bernoulli(0.7, (batch, length), key=keys[6]) if with_mask else None
    return [q, k, v, g, beta, state, mask]


def results(function: Any, arguments: list[Any]) -> dict[str, mx.array]:
    """Outputs, and the gradient of a weighted sum of them to every number that goes in."""
    *arrays, mask = arguments
    given = [array for array in arrays if array is not None]

    def weighted(*given: mx.array) -> tuple[mx.array, ...]:
        y, last = function(*given, *([None] * (6 - len(given))), mask) if len(given) < 6 else function(*given, mask)
        weights = [mx.random.normal(x.shape, key=mx.random.key(9)) for x in (y, last)]
        return sum((x * w).sum() for x, w in zip((y, last), weights, strict=True)), y, last

    (_, y, last), gradients = mx.value_and_grad(weighted, argnums=list(range(len(given))))(*given)
    return {"y": y, "state": last, **dict(zip(("dq", "dk", "dv", "dg", "dbeta", "dstate"), gradients, strict=False))}


def assert_equal(arguments: list[Any]) -> None:
    wanted, got = results(THEIRS, arguments), results(chunked_gated_delta_ops, arguments)
    for name in wanted:
        assert mx.allclose(got[name], wanted[name], atol=TOLERANCE, rtol=TOLERANCE).item(), name


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 100, 257])
def test_outputs_states_and_gradients_are_the_loops_at_every_length(length: int) -> None:
    assert_equal(inputs(length, batch=1))


@pytest.mark.parametrize("decay", DECAYS)
def test_decays_from_none_to_all_at_once_give_the_loops_gradients(decay: str) -> None:
    assert_equal(inputs(70, decay=decay))


def test_a_state_to_begin_with_is_used_and_has_a_gradient() -> None:
    assert_equal(inputs(40, with_state=True))


@pytest.mark.parametrize("decay", ["any", "strong and weak"])
def test_masked_tokens_leave_the_state_and_give_the_loops_own_outputs(decay: str) -> None:
    assert_equal(inputs(70, decay=decay, with_mask=True, with_state=True))


def test_a_row_masked_from_its_first_token_to_its_last_keeps_its_state() -> None:
    *arrays, _ = inputs(5, with_state=True, with_mask=True)
    _, last = chunked_gated_delta_ops(*arrays, mx.array([[False] * 5, [True] * 5]))
    assert mx.array_equal(last[0], arrays[5][0]).item()


def test_heads_that_share_a_key_add_their_gradients() -> None:
    assert_equal(inputs(40, key_heads=2, heads=6))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 3 * CHUNK),
    st.sampled_from(sorted(DECAYS)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.integers(0, 10**6),
)
def test_any_call_gives_what_the_loop_gives(
    length: int, decay: str, with_state: bool, with_mask: bool, repeats: int, seed: int
) -> None:
    assert_equal(
        inputs(
            length,
            decay=decay,
            batch=1,
            key_heads=1,
            heads=repeats,
            with_state=with_state,
            with_mask=with_mask,
            seed=seed,
        )
    )


def test_a_decay_of_exactly_zero_forgets_the_state_and_leaves_no_nan() -> None:
    arguments = inputs(70, with_state=True)
    arguments[3] = mx.where(mx.arange(70)[None, :, None] % 9 == 4, 0.0, arguments[3])
    wanted, got = results(THEIRS, arguments), results(chunked_gated_delta_ops, arguments)
    assert all(mx.all(mx.isfinite(x)).item() for x in got.values())
    assert all(mx.allclose(wanted[name], got[name], atol=TOLERANCE).item() for name in wanted if name != "dg")


def test_one_key_over_and_over_is_solved_as_exactly_as_by_the_loop() -> None:
    """Powers of the triangular matrix would reach 10^8 here, and cancel."""
    arguments = inputs(3 * CHUNK, decay="1", batch=1)
    arguments[1] = mx.broadcast_to(arguments[1][:, :1], arguments[1].shape)
    arguments[4] = mx.ones_like(arguments[4])
    assert_equal(arguments)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_triangular_inverse_is_numpys(size: int) -> None:
    lower = np.tril(np.random.default_rng(0).uniform(-1, 1, (3, size, size)), -1) / 2
    wanted = np.linalg.inv(np.eye(size) + lower)
    assert np.allclose(
        np.array(unit_lower_inverse(mx.array(lower, mx.float32))), wanted, atol=1e-4 * np.abs(wanted).max()
    )


def test_a_decay_for_each_element_of_a_key_is_left_to_the_loop() -> None:
    q, k, v, g, beta, _, _ = inputs(3)
    several = mx.broadcast_to(g[..., None], (*g.shape, 16))
    wanted, got = THEIRS(q, k, v, several, beta), chunked_gated_delta_ops(q, k, v, several, beta)
    assert all(mx.array_equal(a, b).item() for a, b in zip(wanted, got, strict=True))


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("decay_type", [mx.float32, mx.bfloat16])
def test_bfloat16_inputs_give_the_loops_types_and_values(with_state: bool, decay_type: Any) -> None:
    arguments = [None if x is None else x.astype(mx.bfloat16) for x in inputs(50, with_state=with_state)]
    arguments[3] = arguments[3].astype(decay_type)
    (wanted, wanted_state), (got, state) = THEIRS(*arguments), chunked_gated_delta_ops(*arguments)
    assert (got.dtype, state.dtype) == (wanted.dtype, wanted_state.dtype)
    assert mx.max(mx.abs((wanted - got).astype(mx.float32))).item() < 0.02


def test_the_gradient_takes_less_than_a_quarter_of_the_loops_memory() -> None:
    def peak(function: Any) -> int:
        arguments = inputs(256, batch=1, key_size=256)
        mx.eval([x for x in arguments if x is not None])
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(results(function, arguments))
        return int(mx.get_peak_memory() - before)

    assert peak(chunked_gated_delta_ops) < 0.25 * peak(THEIRS)


# In a network


@pytest.fixture
def network(tmp_path: Path) -> Any:
    """A tiny qwen3_5 with LoRA, in training, whose B is not zero: every adapter weight has a gradient."""
    found = tiny_model(tmp_path, architecture="qwen3_5", layers=4).network
    insert_adapter(found, TrainConfig(layers=4, rank=4), 0)
    found.apply_to_modules(
        lambda _, m: m.update({"lora_b": mx.random.normal(m.lora_b.shape) * 0.05}) if "lora_b" in m else None
    )
    found.train()
    return found


def examples() -> list[Example]:
    rng = np.random.default_rng(0)
    return [Example(tuple(int(i) for i in rng.integers(0, 256, n)), n // 2, f"row {n}") for n in (20, 70)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths that our function was called with."""
    lengths: list[int] = []

    def counted(q: mx.array, *others: Any) -> Any:
        lengths.append(q.shape[1])
        return chunked_gated_delta_ops(q, *others)

    monkeypatch.setattr(ours, "chunked_gated_delta_ops", counted)
    return lengths


@pytest.mark.parametrize("recompute", [False, True])
def test_a_networks_loss_and_gradient_are_what_the_loop_gives(network: Any, calls: list[int], recompute: bool) -> None:
    (batch,) = micro_batches(examples(), 10_000)
    wanted = loss_and_gradient(network, batch)
    assert not calls
    with recomputed(network.layers if recompute else []), chunked_gated_delta(network):
        got = loss_and_gradient(network, batch)
    assert set(calls) == {batch.ids.shape[1]}
    assert got.loss == pytest.approx(wanted.loss, rel=1e-5)
    gradient = dict(tree_flatten(got.gradient))
    for name, other in tree_flatten(wanted.gradient):
        assert mx.allclose(gradient[name], other, atol=TOLERANCE).item(), name


def qwen3_next_layer() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 8, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "linear_num_value_heads": 2, "linear_num_key_heads": 1}
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4}
    experts = {"num_experts": 1, "num_experts_per_tok": 1, "decoder_sparse_step": 1, "mlp_only_layers": []}
    rest = {"shared_expert_intermediate_size": 8, "moe_intermediate_size": 8, "rms_norm_eps": 1e-6, "rope_theta": 1e4}
    last = {"model_type": "qwen3_next", "partial_rotary_factor": 0.5, "max_position_embeddings": 64}
    arguments = qwen3_next.ModelArgs(**sizes, **heads, **linear, **experts, **rest, **last)
    return qwen3_next.Qwen3NextGatedDeltaNet(arguments)


def test_layers_of_qwen3_next_are_reached_too(calls: list[int]) -> None:
    layer = qwen3_next_layer()
    x = mx.random.normal((1, 5, 16))
    wanted = layer(x)
    with chunked_gated_delta(layer):
        got = layer(x)
    assert calls == [5]
    assert mx.allclose(wanted, got, atol=TOLERANCE).item()


def test_after_an_exception_in_the_block_mlx_lms_own_is_bound(network: Any) -> None:
    with pytest.raises(KeyError), chunked_gated_delta(network):
        raise KeyError
    assert gated_delta.gated_delta_ops is THEIRS


def test_the_outer_of_two_blocks_lasts_to_its_own_end(network: Any) -> None:
    with chunked_gated_delta(network):
        with chunked_gated_delta(network):
            pass
        assert gated_delta.gated_delta_ops is chunked_gated_delta_ops
    assert gated_delta.gated_delta_ops is THEIRS


def test_a_network_without_such_layers_binds_nothing(tiny: Any) -> None:
    with chunked_gated_delta(tiny.network):
        assert gated_delta.gated_delta_ops is THEIRS


def test_what_the_models_call_looks_the_function_up_where_it_is_bound() -> None:
    assert qwen3_5.gated_delta_update is qwen3_next.gated_delta_update is gated_delta.gated_delta_update
    assert gated_delta.gated_delta_update.__globals__ is vars(gated_delta)


def test_a_training_computes_by_chunks_and_between_its_steps_mlx_lms_own_is_bound(
    network: Any, calls: list[int]
) -> None:
    config = TrainConfig(batch_size=1, epochs=1)
    optimizer = loop.optimizer_of(config, 2)
    shape = loop.STEP_SHAPES[1]
    steps = loop.train_steps(
        network, examples(), config, 0, optimizer, shape=shape, start=None, advance=lambda _n, _note: None
    )
    for n, _ in enumerate(steps, 1):
        assert len(calls) >= 2 * n
        assert gated_delta.gated_delta_ops is THEIRS
        made = len(calls)
        mx.eval(network(mx.array([[1, 2, 3]])))
        assert len(calls) == made
