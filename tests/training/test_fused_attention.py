"""MLX's own attention is used in training where it was tried and is as exact and as lean as ours, and nowhere else."""

from __future__ import annotations

from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.training import attention, fused_attention
from mlx_selfdebug.training.attention import causal_attention, lean_attention
from mlx_selfdebug.training.fused_attention import Shape, Trial, is_better, mlx_attention, prefers_mlx, try_both

SHAPE = Shape(heads=4, key_heads=2, size=16, value_size=16, dtype=mx.float32)


@pytest.fixture(autouse=True)
def forget() -> None:
    prefers_mlx.cache_clear()


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a GPU: the trial is made as there, on the CPU."""
    monkeypatch.setattr(fused_attention, "device_name", lambda: "metal")


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_both_are_tried_on_the_same_numbers_and_mlx_on_the_cpu_is_exact_but_keeps_the_scores(dtype: mx.Dtype) -> None:
    ours, theirs = try_both(Shape(4, 2, 16, 16, dtype), causal_attention)
    assert ours.error < (1e-5 if dtype == mx.float32 else 0.05)
    assert theirs.error <= max(1e-5, 2 * ours.error)
    assert theirs.peak_bytes > ours.peak_bytes


@pytest.mark.parametrize(
    ("theirs", "better"),
    [
        (Trial(1e-6, 100), True),
        (Trial(1e-6, 50), True),
        (Trial(1e-6, 101), False),
        (Trial(3e-3, 50), False),
        (Trial(float("nan"), 50), False),
    ],
)
def test_it_has_to_be_as_exact_and_take_no_more_memory(theirs: Trial, better: bool) -> None:
    assert is_better(Trial(1e-3, 100), theirs) is better


def test_nothing_is_tried_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_attention, "try_both", lambda *arguments: pytest.fail("it was tried"))
    assert not prefers_mlx(SHAPE, causal_attention)


@pytest.mark.usefixtures("on_a_gpu")
def test_a_shape_that_mlx_has_no_kernel_for_is_left_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> mx.array:
        raise ValueError("no fused kernel")

    monkeypatch.setattr(fused_attention, "mlx_attention", refuse)
    assert not prefers_mlx(SHAPE, causal_attention)


@pytest.mark.usefixtures("on_a_gpu")
def test_a_shape_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Shape] = []

    def both(shape: Shape, ours: Any) -> tuple[Trial, Trial]:
        tried.append(shape)
        return Trial(0.0, 100), Trial(0.0, 90)

    monkeypatch.setattr(fused_attention, "try_both", both)
    assert [prefers_mlx(SHAPE, causal_attention) for _ in range(3)] == [True] * 3
    assert tried == [SHAPE]


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("chosen", [True, False])
def test_a_network_that_is_trained_uses_what_was_chosen_with_the_same_result(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    calls: list[str] = []

    def counting(name: str, function: Any) -> Any:
        return lambda *arguments: calls.append(name) or function(*arguments)

    trials = Trial(0.0, 100), Trial(0.0, 90 if chosen else 110)
    monkeypatch.setattr(fused_attention, "try_both", lambda shape, ours: trials)
    monkeypatch.setattr(attention, "mlx_attention", counting("MLX's", mlx_attention))
    monkeypatch.setattr(attention, "causal_attention", counting("ours", causal_attention))
    ids = mx.array([list(range(5, 25))])
    wanted = tiny.network(ids)
    with lean_attention(tiny.network):
        assert mx.allclose(tiny.network(ids), wanted, rtol=1e-4, atol=1e-4)
    assert set(calls) == {"MLX's" if chosen else "ours"}
