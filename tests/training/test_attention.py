"""The lean attention computes what mlx's does, with its gradients, and is bound only where and while it should be."""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest
from mlx_lm.models import qwen2

from mlx_selfdebug.models.attention import attended
from mlx_selfdebug.training import attention
from mlx_selfdebug.training.attention import causal_attention, lean_attention

SCALE = 0.25


def by_mlx(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=SCALE, mask="causal")


def lean(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    return causal_attention(queries, keys, values, SCALE)


def some(
    heads: int, key_heads: int, length: int, dtype: mx.Dtype = mx.float32, sharpness: float = 1.0
) -> list[mx.array]:
    """queries, keys, values and a cotangent for the output."""
    shapes = [(2, heads, length, 16), (2, key_heads, length, 16), (2, key_heads, length, 24), (2, heads, length, 24)]
    keys = mx.random.split(mx.random.key(length), 4)
    drawn = [mx.random.normal(shape, key=key) for shape, key in zip(shapes, keys, strict=True)]
    return [(sharpness * drawn[0]).astype(dtype), *(array.astype(dtype) for array in drawn[1:])]


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 100])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)])
def test_outputs_and_gradients_are_those_of_mlx(
    monkeypatch: pytest.MonkeyPatch, heads: tuple[int, int], length: int
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 32)
    *primals, cotangent = some(*heads, length)
    (wanted,), wanted_gradients = mx.vjp(by_mlx, primals, [cotangent])
    (got,), got_gradients = mx.vjp(lean, primals, [cotangent])
    assert mx.allclose(got, wanted, rtol=1e-5, atol=1e-5)
    for one, other in zip(got_gradients, wanted_gradients, strict=True):
        assert mx.allclose(one, other, rtol=1e-4, atol=2e-5)


def test_scores_far_apart_give_no_infinities() -> None:
    *primals, cotangent = some(2, 1, 40, sharpness=200.0)
    (out,), gradients = mx.vjp(lean, primals, [cotangent])
    assert all(mx.all(mx.isfinite(array)).item() for array in (out, *gradients))
    assert mx.allclose(out, by_mlx(*primals), rtol=1e-3, atol=1e-3)


def test_half_precision_goes_in_and_out() -> None:
    *primals, cotangent = some(4, 2, 40, mx.bfloat16)
    (out,), gradients = mx.vjp(lean, primals, [cotangent])
    assert {array.dtype for array in (out, *gradients)} == {mx.bfloat16}
    exact = causal_attention(*(array.astype(mx.float32) for array in primals), SCALE)
    assert mx.allclose(out.astype(mx.float32), exact, rtol=0.05, atol=0.05)


def test_a_long_row_takes_less_memory_than_mlxs() -> None:
    *primals, cotangent = (array[:1] for array in some(4, 4, 2048))
    mx.eval(primals, cotangent)

    def peak(function: Any) -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(mx.vjp(function, primals, [cotangent])[1])
        return mx.get_peak_memory() - before

    assert peak(lean) < 0.5 * peak(by_mlx)


def test_it_is_bound_inside_the_block_alone(tiny: Any) -> None:
    before = qwen2.scaled_dot_product_attention
    with lean_attention(tiny.network):
        assert qwen2.scaled_dot_product_attention is not before
    assert qwen2.scaled_dot_product_attention is before


def test_generation_inside_the_block_has_its_own_attention(tiny: Any) -> None:
    from mlx_lm.models.cache import make_prompt_cache

    ids = mx.array([[5, 6, 7, 8]])
    wanted = tiny.network(ids, cache=make_prompt_cache(tiny.network))
    with lean_attention(tiny.network):
        assert mx.array_equal(tiny.network(ids, cache=make_prompt_cache(tiny.network)), wanted)


def test_masked_positions_have_a_probability_of_exactly_0_in_the_backward_pass() -> None:
    """It was 2^-126, and products with it are denormal numbers, with which some processors are slow."""
    queries, keys, values = some(4, 2, 40)[:3]
    grouped = (queries * SCALE).reshape(2, 2, 2, 40, 16)
    _, logs = attended(grouped, keys, values)
    found = attention._probabilities(grouped, keys, logs).reshape(2, 2, 2, 40, 40)
    later = mx.arange(40)[None] > mx.arange(40)[:, None]
    assert mx.all(mx.where(later, found, 0.0) == 0).item()
    assert mx.allclose(found.sum(axis=-1), mx.ones((2, 2, 2, 40)), atol=1e-5).item()
