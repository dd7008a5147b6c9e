"""The attention of prefills by blocks gives what MLX's own gives."""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

import pytest
from mlx_lm.models import qwen2
from mlx_lm.models.cache import make_prompt_cache

from mlx_selfdebug.models.attention import BLOCK, MIN_QUERIES, quick_attention

on_cpu = pytest.mark.skipif(device_name() != "cpu", reason="elsewhere MLX's own attention is used")


def parts(rows: int, heads: int, groups: int, n: int, seen: int) -> tuple[mx.array, mx.array, mx.array]:
    mx.random.seed(n)
    draw: Any = mx.random.normal
    return draw((rows, heads, n, 8)), draw((rows, groups, seen, 8)), draw((rows, groups, seen, 8))


@on_cpu
@pytest.mark.parametrize(
    ("n", "seen"), [(MIN_QUERIES, MIN_QUERIES), (BLOCK, BLOCK), (BLOCK + 1, BLOCK + 1), (20, 300), (150, 151)]
)
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_queries_at_the_end_of_a_context_attend_to_all_before_them(
    tiny: Any, heads: int, groups: int, n: int, seen: int
) -> None:
    queries, keys, values = parts(2, heads, groups, n, seen)
    wanted = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask="causal")
    with quick_attention(tiny.network):
        got = qwen2.scaled_dot_product_attention(queries, keys, values, cache=None, scale=0.3, mask="causal")
    assert mx.allclose(got, wanted, atol=1e-5)


@on_cpu
def test_a_prefill_in_pieces_ends_in_the_same_logits(tiny: Any) -> None:
    network = tiny.network
    ids = mx.arange(90)[None] % 50

    def logits() -> mx.array:
        caches = make_prompt_cache(network)
        network(ids[:, :40], cache=caches)
        return network(ids[:, 40:], cache=caches)

    wanted = logits()
    with quick_attention(network):
        assert mx.allclose(logits(), wanted, atol=1e-4)


def test_the_models_own_attention_is_there_again_afterwards(tiny: Any) -> None:
    before = qwen2.scaled_dot_product_attention
    with quick_attention(tiny.network):
        pass
    assert qwen2.scaled_dot_product_attention is before
