from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import mx, nn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from mlx_selfdebug.models.activations import exp, speed_up_activations, swiglu
from mlx_selfdebug.testing import write_tiny_model

FLOATS = st.floats(-80, 80, width=32)


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_the_exponential_is_right_to_a_few_digits_of_float32(values: list[float]) -> None:
    exact = np.exp(np.array(values, np.float64))
    assert np.abs(np.array(exp(mx.array(values))) / exact - 1).max() < 1e-5


@pytest.mark.parametrize("value", [-1e6, -1000.0, 1000.0, 1e6])
def test_swiglu_of_enormous_numbers_is_what_it_tends_to(value: float) -> None:
    assert swiglu(mx.array([value]), mx.array([1.0])).item() == pytest.approx(max(value, 0.0), abs=1e-20)


def test_a_gate_that_is_not_a_number_stays_none() -> None:
    assert np.isnan(swiglu(mx.array([float("nan")]), mx.array([1.0])).item())


def test_gradients_are_those_of_silu() -> None:
    gate, up = mx.random.normal((2, 40), key=mx.random.key(1)) * 5
    ours = mx.grad(lambda g, u: (swiglu(g, u) ** 2).sum(), argnums=(0, 1))(gate, up)
    theirs = mx.grad(lambda g, u: ((nn.silu(g) * u) ** 2).sum(), argnums=(0, 1))(gate, up)
    for mine, other in zip(ours, theirs, strict=True):
        assert mx.allclose(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3_5"])
def test_a_model_computes_the_same_and_keeps_its_parameters(architecture: str, tmp_path: Any) -> None:
    from mlx_lm.utils import load_model

    folder = write_tiny_model(tmp_path, architecture=architecture, layers=4)
    plain, fast = load_model(folder)[0], load_model(folder)[0]
    assert speed_up_activations(fast) == 4
    ids = mx.array([[5, 9, 200, 41]])
    assert mx.allclose(plain(ids), fast(ids), atol=1e-4)
    assert [name for name, _ in tree_flatten(fast.parameters())] == [
        name for name, _ in tree_flatten(plain.parameters())
    ]


def test_other_models_of_the_process_are_left_alone(tmp_path: Any) -> None:
    from mlx_lm.utils import load_model

    folder = write_tiny_model(tmp_path)
    plain, fast = load_model(folder)[0], load_model(folder)[0]
    speed_up_activations(fast)
    assert type(plain.layers[0].mlp) is not type(fast.layers[0].mlp)
    assert speed_up_activations(fast) == 0


def test_a_layer_with_another_activation_is_left_alone() -> None:
    class Gelu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)

        def __call__(self, x: mx.array) -> mx.array:
            return self.down_proj(nn.gelu(self.gate_proj(x)) * self.up_proj(x))

    holder = nn.Module()
    holder.mlp = Gelu()
    assert speed_up_activations(holder) == 0
