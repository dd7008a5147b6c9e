from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest
from mlx.utils import tree_flatten

from mlx_selfdebug.errors import BudgetError, ModelError, StoreError, TrainingError
from mlx_selfdebug.machine.cache_folder import CACHE_VARIABLE
from mlx_selfdebug.stages.common import measured
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Family
from mlx_selfdebug.training import loop, session
from mlx_selfdebug.training.adapter import open_adapter
from mlx_selfdebug.training.checkpoint import newest_checkpoint
from mlx_selfdebug.training.loss import LossAndGradient
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import Step

from ..support.values import small_config

PAIRS = [Pair("repair", "python", f"t{i}", f"Fix {i}.", f"def f(): return {i}\n```", ("a", "b")) for i in range(5)]


def open_run(path: Path, pairs: list[Pair] = PAIRS, **overrides: Any) -> Run:
    run = Run(
        path, small_config(**{"train__batch_size": 2, "train__epochs": 4, "train__learning_rate": 0.01, **overrides})
    )
    run.replace_pairs(pairs)
    return run


def weights(model: Any) -> dict[str, Any]:
    return dict(tree_flatten(model.network.parameters()))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(mx.array_equal(a[k], b[k]).item() for k in a)


def test_training_lowers_the_loss(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", train__epochs=10) as run:
        train(run, tiny)
        steps = run.steps()
    assert len(steps) == 30
    assert steps[-1].loss < 0.9 * steps[0].loss


def test_the_model_is_the_base_again_after_training(tiny: Any, tmp_path: Path) -> None:
    before = weights(tiny)
    with open_run(tmp_path / "run") as run:
        train(run, tiny)
    assert same(weights(tiny), before)
    assert not tiny.network.training


def test_a_second_training_gives_the_same_adapter(tiny: Any, tmp_path: Path) -> None:
    adapters = []
    for name in ("first", "second"):
        with open_run(tmp_path / name) as run:
            adapters.append(mx.load(str(train(run, tiny).path / "adapters.safetensors")))
    assert same(*adapters)


def test_a_finished_adapter_is_not_trained_again(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        written = (adapter.path / "adapters.safetensors").stat().st_mtime_ns
        assert train(run, tiny) == adapter
    assert (adapter.path / "adapters.safetensors").stat().st_mtime_ns == written


def test_the_adapter_loads_in_plain_mlx_lm(tiny: Any, tmp_path: Path) -> None:
    import mlx_lm

    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
    network, _ = mlx_lm.load(str(tiny.path), adapter_path=str(adapter.path))
    ids = mx.array([[1, 2, 3]])
    with adapter.applied(tiny):
        ours = tiny.network(ids)
    assert mx.allclose(network(ids), ours, atol=1e-5).item()
    assert not mx.allclose(tiny.network(ids), ours, atol=1e-3).item()


def test_no_pairs_is_an_error_that_says_what_to_do(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", []) as run:
        run.add_stage_time("collect", 1.0, 1, done=True)
        with pytest.raises(TrainingError, match="no pairs to train on") as caught:
            train(run, tiny)
    assert f"--run {tmp_path / 'run-2'} --config {tmp_path / 'run' / 'config.toml'}" in str(caught.value.hint)
    assert "--collect-samples 16" in str(caught.value.hint)


def test_a_run_that_has_not_collected_to_the_end_is_to_collect_before_it_trains(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", []) as run, pytest.raises(TrainingError, match="has not collected") as caught:
        train(run, tiny)
    assert caught.value.hint == f"mlx-selfdebug collect --run {tmp_path / 'run'}"


def test_one_pair_is_enough(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", PAIRS[:1]) as run:
        train(run, tiny)
        assert len(run.steps()) == 4


def test_pairs_that_are_all_too_long_are_an_error(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", train__max_length=16) as run:
        run.add_stage_time("collect", 1.0, 1, done=True)
        with pytest.raises(TrainingError, match="all 5 pairs are longer") as caught:
            train(run, tiny)
    assert "--train-max-length 32" in str(caught.value.hint)


def test_a_pair_longer_than_the_context_is_left_out_by_name(
    tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.config["max_position_embeddings"] = 100
    long = Pair("repair", "python", "long one", "Fix it.", "x" * 100, ("a", "b"))
    with open_run(tmp_path / "run", [*PAIRS, long]) as run:
        train(run, tiny)
        assert run.facts().n_pairs_left_out == 1
    assert "longer than the context of" in caplog.text
    assert "= 100 tokens and left out: repair long one" in caplog.text


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECKPOINT_S", 0.0)
    with open_run(tmp_path / "run") as run:
        run.training_path.write_text("a file where a folder is wanted")
        with pytest.raises(StoreError, match=f"checkpoint cannot be written to {run.training_path}"):
            train(run, tiny)
        run.training_path.unlink()
        run.adapter_path.write_text("and here")
        with pytest.raises(StoreError, match=f"adapter cannot be written to {run.adapter_path}"):
            train(run, tiny)
        run.adapter_path.unlink()
        assert train(run, tiny).path.is_dir()


def test_a_full_disk_keeps_the_checkpoint_before_and_training_goes_on_from_it(
    tmp_path: Path, tiny_folder: Path
) -> None:
    """A limit on the size of files stands for the disk: mlx's own writer meets it as it would a full one."""
    code = """
import resource, sys
from pathlib import Path
from mlx_selfdebug.models.backend import mx
from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.training import session
from tests.stages.test_train import open_run

session.CHECKPOINT_S = 0.0
folder, model = Path(sys.argv[1]), load_model(sys.argv[2])
save, most = session.save_checkpoint, resource.RLIM_INFINITY

def full_at_the_fifth(folder, step, *rest):
    if step == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
    try:
        save(folder, step, *rest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

with open_run(folder / "run") as run:
    session.save_checkpoint = full_at_the_fifth
    try:
        train(run, model)
    except StoreError as error:
        print(str(error))
    print(sorted(path.name for path in run.training_path.glob("step-*.json")))
    session.save_checkpoint = save
    cut = mx.load(str(train(run, model).path / "adapters.safetensors"))
with open_run(folder / "whole") as run:
    whole = mx.load(str(train(run, model).path / "adapters.safetensors"))
print(all(mx.array_equal(cut[name], whole[name]).item() for name in whole))
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(tiny_folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, CACHE_VARIABLE: str(tmp_path)}
    )
    said, kept, same_again = done.stdout.splitlines()
    assert "a checkpoint cannot be written" in said
    assert "the one before is kept" in said
    assert kept == "['step-000003.json', 'step-000004.json']"
    assert same_again == "True"


def test_a_rest_between_segments_changes_nothing_but_the_time(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters, rests = [], []
    monkeypatch.setattr(session, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(session.time, "sleep", rests.append)
    for rest in (0.0, 7.5):
        with open_run(tmp_path / str(rest), train__cooldown_s=rest) as run:
            adapters.append(mx.load(str(train(run, tiny).path / "adapters.safetensors")))
    assert same(*adapters)
    assert rests == [0.0] * 12 + [7.5] * 12


def test_mlxs_limits_are_the_plans_in_training_and_what_they_were_afterwards(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    memory, cache = mx.set_memory_limit(1 << 41), mx.set_cache_limit(123)
    with open_run(tmp_path / "run") as run:
        add_step = run.add_step

        def look(step: Any) -> None:
            limits.append((mx.set_memory_limit(1 << 40), mx.set_cache_limit(7)))
            add_step(step)

        monkeypatch.setattr(run, "add_step", look)
        train(run, tiny)
        plan = run.facts().family(Family.PLAN)["0"]
    assert limits[0][0] < 10 * 10**9
    assert limits[0][1] == plan["cache_bytes"]
    assert (mx.set_memory_limit(memory), mx.set_cache_limit(cache)) == (1 << 41, 123)


def test_a_training_that_does_not_fit_is_refused_before_its_first_step(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", budget__training_gb=0.1) as run:
        with pytest.raises(BudgetError, match="training does not fit its budget") as caught:
            train(run, tiny)
        assert run.steps() == []
    assert "--budget-training-gb" in str(caught.value.hint)


def test_a_stage_that_took_more_than_its_budget_says_so(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with measured(run, "train", 0.001):
        pass
    assert "more than its budget of 0.001 GB" in caplog.text


def test_dora_trains_loads_in_plain_mlx_lm_and_leaves_the_base(tiny: Any, tmp_path: Path) -> None:
    import mlx_lm

    before = weights(tiny)
    with open_run(tmp_path / "run", train__method="dora", train__epochs=8) as run:
        adapter = train(run, tiny)
        steps = run.steps()
    assert steps[-1].loss < steps[0].loss
    assert same(weights(tiny), before)
    network = mlx_lm.load(str(tiny.path), adapter_path=str(adapter.path))[0]
    ids = mx.array([[1, 2, 3]])
    with adapter.applied(tiny):
        ours = tiny.network(ids)
    assert mx.allclose(network(ids), ours, atol=1e-4).item()
    assert same(weights(tiny), before)


def test_a_loss_that_is_never_a_number_stops_training_names_the_batch_and_leaves_no_adapter(
    tiny: Any, tmp_path: Path
) -> None:
    tiny.network.model.norm.weight = mx.full(tiny.network.model.norm.weight.shape, float("nan"))
    with open_run(tmp_path / "run") as run:
        with pytest.raises(TrainingError, match=r"not finite at step 2 .* the batch: repair t\d"):
            train(run, tiny)
        assert not run.adapter_path.exists()
        assert run.steps() == []


def test_a_single_step_that_is_not_a_number_is_skipped_and_the_rest_goes_on(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "before") as run:
        train(run, tiny)  # so that no probe is counted below
    real, calls = loop.loss_and_gradient, []

    def once_broken(network: Any, batch: Any, **options: Any) -> Any:
        calls.append(1)
        found = real(network, batch, **options)
        return LossAndGradient(float("nan"), found.gradient) if len(calls) == 2 else found

    monkeypatch.setattr(loop, "loss_and_gradient", once_broken)
    with open_run(tmp_path / "run") as run:
        train(run, tiny)
        assert [step.step for step in run.steps()] == [i for i in range(12) if i != 1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [0, 1, 4, 7, 11])
def test_a_training_cut_short_ends_with_the_same_adapter_bit_for_bit(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("mlx_selfdebug.training.session.CHECKPOINT_S", 0.0)
    with open_run(tmp_path / "whole") as run:
        whole, steps = mx.load(str(train(run, tiny).path / "adapters.safetensors")), timeless(run)
    with open_run(tmp_path / "cut") as run:
        cut_after(run, tiny, at)
    with open_run(tmp_path / "cut") as run:
        assert same(mx.load(str(train(run, tiny).path / "adapters.safetensors")), whole)
        assert timeless(run) == steps
        assert not run.training_path.exists()


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{**step.to_record(), "wall_s": 0} for step in run.steps()]


def cut_after(run: Run, model: Any, last: int) -> None:
    real = run.add_step

    def stop(step: Step) -> None:
        real(step)
        if step.step == last:
            raise Killed

    run.add_step = stop  # type: ignore[method-assign]
    with pytest.raises(Killed):
        train(run, model)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it_and_said(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlx_selfdebug.training.session.CHECKPOINT_S", 0.0)
    with open_run(tmp_path / "whole") as run:
        whole = mx.load(str(train(run, tiny).path / "adapters.safetensors"))
    with open_run(tmp_path / "cut") as run:
        cut_after(run, tiny, 6)
    newest = sorted((tmp_path / "cut" / "training").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-9] + b"123456789")
    with open_run(tmp_path / "cut") as run:
        assert same(mx.load(str(train(run, tiny).path / "adapters.safetensors")), whole)
    assert f"{newest.name} is damaged; the checkpoint before it is used" in caplog.text


def test_two_checkpoints_are_kept_and_belong_to_their_settings(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_selfdebug.training.session.CHECKPOINT_S", 0.0)
    with open_run(tmp_path / "cut") as run:
        cut_after(run, tiny, 6)
        assert len(list(run.training_path.glob("step-*.safetensors"))) == 2
        assert newest_checkpoint(run.training_path, {"other": 1}) is None


def test_an_adapter_of_another_model_is_refused_and_the_model_stays_usable(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
    other = json.loads((adapter.path / "adapter_config.json").read_text())
    other["lora_parameters"]["rank"] = 3
    shutil.copytree(adapter.path, tmp_path / "other")
    (tmp_path / "other" / "adapter_config.json").write_text(json.dumps(other))
    before = weights(tiny)
    with pytest.raises(ModelError, match="does not fit"), open_adapter(tmp_path / "other").applied(tiny):
        pass
    assert same(weights(tiny), before)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not an adapter"):
        open_adapter(tmp_path)


def test_an_adapter_trained_on_other_weights_is_refused_by_their_origin(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
    with (
        pytest.raises(ModelError, match="was trained on gguf:other"),
        replace(adapter, base="gguf:other").applied(tiny),
    ):
        pass
