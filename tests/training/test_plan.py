"""A few layers tell what all take; the quickest shape that fits the budget is chosen, and what would fit is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import BudgetError
from mlx_selfdebug.testing import tiny_model
from mlx_selfdebug.training import probe
from mlx_selfdebug.training.loop import STEP_SHAPES, StepShape
from mlx_selfdebug.training.plan import Planner, Workload
from mlx_selfdebug.training.probe import Costs, Rows, StepCost, measure

pytestmark = pytest.mark.slow

ROWS = Rows(2, 256, 64)
WORK = Workload([255] * 8, 8 * 60)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_model(tmp_path_factory.mktemp("deep"), layers=16, hidden_size=128)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("shape", STEP_SHAPES[:2])
def test_a_few_layers_tell_the_memory_of_all(deep: Any, shape: StepShape, method: str) -> None:
    config = TrainConfig(method=method)
    told = measure(deep.network, deep.config, config, ROWS, shape).peak_bytes(16)
    assert told == pytest.approx(probe._measure_step(deep.network, 16, config, ROWS, shape).peak_bytes, rel=0.15)


def test_a_few_layers_of_a_recurrent_model_tell_the_memory_of_all(tmp_path: Path) -> None:
    model = tiny_model(tmp_path, layers=12, hidden_size=128, architecture="qwen3_5")
    told = measure(model.network, model.config, TrainConfig(), ROWS, StepShape()).peak_bytes(12)
    assert told == pytest.approx(
        probe._measure_step(model.network, 12, TrainConfig(), ROWS, StepShape()).peak_bytes, rel=0.1
    )


def test_a_model_of_few_layers_is_measured_whole(tiny: Any) -> None:
    costs = measure(tiny.network, tiny.config, TrainConfig(), ROWS, StepShape())
    assert costs.few.layers == costs.more.layers == 2
    assert costs.peak_bytes(2) == costs.few.peak_bytes


def test_the_network_is_left_as_it_was(deep: Any) -> None:
    before = tree_flatten(deep.network.parameters())
    measure(deep.network, deep.config, TrainConfig(rank=3), ROWS, StepShape())
    after = tree_flatten(deep.network.parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(one is other for (_, one), (_, other) in zip(before, after, strict=True))
    assert not deep.network.training


def test_what_was_measured_is_kept_for_the_same_settings_alone(
    deep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "default_cache_dir", lambda: tmp_path)
    wanted = measure(deep.network, deep.config, TrainConfig(rank=5), ROWS, StepShape())
    (file,) = (tmp_path / "probes").iterdir()
    # What is kept is made to differ from what would be measured, to see where it is used.
    kept = replace(wanted, few=replace(wanted.few, wall_s=99.0))
    file.write_text(json.dumps(asdict(kept)))
    assert measure(deep.network, deep.config, TrainConfig(rank=5), ROWS, StepShape()) == kept
    for config, rows, shape in [
        (TrainConfig(rank=6), ROWS, StepShape()),
        (TrainConfig(rank=5), Rows(3, 256, 64), StepShape()),
        (TrainConfig(rank=5), ROWS, StepShape(recompute=True)),
    ]:
        assert measure(deep.network, deep.config, config, rows, shape).few.wall_s != 99.0


def test_a_damaged_or_unwritable_cache_is_no_matter(deep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(rank=7)
    monkeypatch.setattr(probe, "default_cache_dir", lambda: tmp_path)
    first = measure(deep.network, deep.config, config, ROWS, StepShape())
    (file,) = (tmp_path / "probes").iterdir()
    file.write_text("{")
    assert measure(deep.network, deep.config, config, ROWS, StepShape()).few.layers == first.few.layers
    monkeypatch.setattr(probe, "default_cache_dir", lambda: file)
    assert measure(deep.network, deep.config, config, ROWS, StepShape()).few.layers == first.few.layers


def planner_with(monkeypatch: pytest.MonkeyPatch, peak: Callable[[Rows, StepShape], int], **config: Any) -> Planner:
    """Of a model of ten layers that takes so many bytes, wherever an adapter is."""

    def told(_network: Any, _model: Any, _config: Any, rows: Rows, shape: StepShape) -> Costs:
        cost = StepCost(10, peak(rows, shape), 0, 1.0)
        return Costs(cost, cost)

    monkeypatch.setattr("mlx_selfdebug.training.plan.measure", told)
    network: Any = None
    return Planner(network, {"num_hidden_layers": 10}, TrainConfig(**config), fixed_bytes=1000)


def by_tokens(rows: Rows, shape: StepShape) -> int:
    return rows.n * rows.length * (10 if shape.recompute else 100)


@pytest.mark.parametrize(
    ("budget", "skip_shapes", "shape"),
    [(10**6, 0, 0), (60_000, 0, 0), (40_000, 0, 1), (3_700, 0, 2), (10**6, 1, 1), (10**6, 9, 2)],
)
def test_the_quickest_shape_that_fits_is_taken(
    monkeypatch: pytest.MonkeyPatch, budget: int, skip_shapes: int, shape: int
) -> None:
    plan = planner_with(monkeypatch, by_tokens).plan(WORK, budget, skip_shapes=skip_shapes)
    assert plan.shape == STEP_SHAPES[shape]
    assert plan.peak_bytes <= budget


def test_a_budget_too_small_names_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = planner_with(monkeypatch, by_tokens)
    with pytest.raises(BudgetError, match="pairs of up to 256 tokens") as caught:
        planner.plan(WORK, 3000)
    assert caught.value.needed_bytes == 1000 + 2560
    assert "a run with --train-max-length 192" in str(caught.value.hint)
    assert planner.plan(Workload([191] * 8, 100), 3000).peak_bytes <= 3000
    assert planner.plan(WORK, caught.value.needed_bytes)


def test_a_budget_below_the_weights_suggests_no_length(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetError) as caught:
        planner_with(monkeypatch, by_tokens).plan(WORK, 500)
    assert "max-length" not in str(caught.value.hint)


def test_layers_without_an_adapter_keep_nothing_and_take_less_time() -> None:
    costs = Costs(StepCost(2, 100, 10, 1.0), StepCost(4, 160, 20, 1.4))
    assert [costs.peak_bytes(n) for n in (2, 4, 10)] == [100, 160, 340]
    assert costs.gradient_bytes(10) == 50
    assert costs.head_s() == pytest.approx(0.6)
    assert costs.layers_s(4, 6) == pytest.approx(0.2 * 4 + 0.2 * 0.4 * 6)


def test_a_row_stands_beside_as_many_as_a_step_has() -> None:
    assert Workload([100] * 9, 90).largest(StepShape(640), 4) == Rows(4, 112, 64)
    assert Workload([300] * 9, 90).largest(StepShape(640), 4) == Rows(2, 320, 64)
    assert Workload([1000] * 9, 90).largest(StepShape(640), 4) == Rows(1, 1024, 64)
    assert Workload([30], 9).largest(StepShape(640), 4) == Rows(1, 32, 32)
