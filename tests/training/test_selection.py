"""The adapter is that of the epoch which repaired most of the held-back tasks, by repairs that were run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest
from mlx.utils import tree_flatten

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Family
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.training import session
from mlx_selfdebug.training.selection import ARM, Selection, Validation, hold_back, stored_validations, to_repair
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

from ..support.values import FAILED, small_config

NAMES = [f"f{i}" for i in range(10)]
TASKS = [make_task(name) for name in NAMES]
PAIRS = [Pair("direct", "python", "t", f"Write {i}.", f"def f(): return {i}\n```", ("a",)) for i in range(4)]


def mixed(task: Task) -> list[Attempt]:
    """A passing attempt, two that failed in different ways, and one more that differs in layout alone."""
    name = task.entry_point
    codes = [f"def {name}(x):\n    return {body}\n" for body in ("x * x", "x + x", "x", "(x)")]
    verdicts = [Verdict("passed", n_passed=1, n_checks=1), FAILED, FAILED, FAILED]
    return [
        make_attempt(task_id=task.id, sample=i, code=code, verdict=verdict)
        for i, (code, verdict) in enumerate(zip(codes, verdicts, strict=True))
    ]


def open_run(path: Path, *, held_back: int = 2, **overrides: Any) -> Run:
    """A run of four pairs in two steps an epoch, whose last tasks are held back."""
    settings = {"train__batch_size": 2, "train__epochs": 3, "train__learning_rate": 0.05, "collect__max_tokens": 8}
    run = Run(path, small_config(**{**settings, **overrides}))
    for attempt in (a for task in TASKS for a in mixed(task)):
        run.add_attempt(attempt)
    run.replace_pairs(PAIRS)
    run.remember("train.held_back", [task.id for task in TASKS[len(TASKS) - held_back :]])
    return run


def test_a_share_of_the_tasks_that_were_failed_and_solved_is_held_back() -> None:
    attempts = [a for task in TASKS[:5] for a in mixed(task)]
    attempts += [a for task in TASKS[5:] for a in mixed(task)[:1]]
    held = hold_back(attempts, TASKS, TrainConfig(held_back_share=0.4), 0)
    assert len(held) == 2
    assert set(held) < {task.id for task in TASKS[:5]}
    assert held == hold_back(attempts, TASKS, TrainConfig(held_back_share=0.4), 0)
    assert hold_back(attempts, TASKS, TrainConfig(held_back_share=0), 0) == []


def test_failed_attempts_of_different_code_are_repaired_up_to_the_most() -> None:
    attempts = mixed(TASKS[0])
    assert [a.sample for a in to_repair(attempts, TASKS[:1], 5)[TASKS[0].id]] == [1, 2]
    assert [a.sample for a in to_repair(attempts, TASKS[:1], 1)[TASKS[0].id]] == [1]


def selection_with(run: Run, scores: list[int]) -> Selection:
    selection = Selection(run, None, [], None, None, "digest")  # type: ignore[arg-type]
    selection.validations = [Validation(10 * i, score, 9) for i, score in enumerate(scores, 1)]
    return selection


@pytest.mark.parametrize(("scores", "step"), [([1, 3, 2], 20), ([2, 2, 1], 20), ([0, 0, 0], 30), ([5], 10)])
def test_the_validation_that_repaired_most_is_the_best_and_of_equals_the_later(
    tmp_path: Path, scores: list[int], step: int
) -> None:
    with Run(tmp_path / "run") as run:
        best = selection_with(run, scores).best
    assert best is not None
    assert best.step == step


@pytest.mark.parametrize(
    ("scores", "patience", "over"),
    [([3, 1], 1, True), ([3, 3], 1, True), ([1, 2], 1, False), ([3, 1, 1], 3, False), ([3, 1, 1, 1], 3, True), ([3, 1], 0, False),
     ([], 1, False)],
)  # fmt: skip
def test_training_is_over_after_as_many_validations_without_a_better_one(
    tmp_path: Path, scores: list[int], patience: int, over: bool
) -> None:
    with Run(tmp_path / "run", small_config(train__patience=patience)) as run:
        assert selection_with(run, scores).over is over


def test_repairs_are_decoded_tested_and_stored_at_the_end_of_each_epoch(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        train(run, tiny, tasks=TASKS)
        validations, attempts = stored_validations(run), run.attempts(f"{ARM}/000002")
    assert [(validation.step, validation.attempts) for validation in validations] == [(2, 4), (4, 4), (6, 4)]
    assert {(a.round, a.n_completion_tokens > 0, a.parent != "") for a in attempts} == {(1, True, True)}
    assert {a.task_id for a in attempts} == {TASKS[-2].id, TASKS[-1].id}


def test_the_model_is_its_base_again_after_validations(tiny: Any, tmp_path: Path) -> None:
    before = dict(tree_flatten(tiny.network.parameters()))
    with open_run(tmp_path / "run") as run:
        train(run, tiny, tasks=TASKS)
    after = dict(tree_flatten(tiny.network.parameters()))
    assert after.keys() == before.keys()
    assert not tiny.network.training


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[int], seen: dict[int, dict[str, mx.array]]) -> None:
    """The validations of epochs of two steps find these scores; ``seen`` is given the adapter they were made with."""

    def make(self: Selection, step: int) -> Validation:
        weights = tree_flatten(self._model.network.trainable_parameters())
        seen[step] = {name: mx.array(array) for name, array in weights}
        validation = Validation(step, scores[step // 2 - 1], 9)
        self._run.remember(Family.VALIDATION.key(f"{self._training}.{step}"), vars(validation))
        return validation

    monkeypatch.setattr(Selection, "repair_all", make)


def equal(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    return one.keys() == other.keys() and all(mx.array_equal(one[name], other[name]).item() for name in one)


def test_the_adapter_is_that_of_the_best_epoch(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, dict[str, mx.array]] = {}
    scripted(monkeypatch, [1, 3, 2], seen)
    with open_run(tmp_path / "run") as run:
        weights: Any = mx.load(str(train(run, tiny, tasks=TASKS).path / "adapters.safetensors"))
    assert equal(weights, seen[4])
    assert not equal(weights, seen[6])


def test_epochs_that_bring_nothing_better_end_the_training(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, dict[str, mx.array]] = {}
    scripted(monkeypatch, [3, 1, 1], seen)
    with open_run(tmp_path / "run", train__patience=1) as run:
        weights: Any = mx.load(str(train(run, tiny, tasks=TASKS).path / "adapters.safetensors"))
        assert len(run.steps()) == 4
    assert equal(weights, seen[2])


class Killed(BaseException):
    """Stands for the end of the process: nothing that runs in it catches this."""


@pytest.mark.parametrize("last", [1, 2, 3, 4, 6])
def test_a_training_cut_short_chooses_the_same_adapter(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    scripted(monkeypatch, [3, 1, 2], {})
    monkeypatch.setattr(session, "CHECKPOINT_S", 0.0)
    with open_run(tmp_path / "whole") as run:
        wanted: Any = mx.load(str(train(run, tiny, tasks=TASKS).path / "adapters.safetensors"))

    with open_run(tmp_path / "cut") as run:
        add_step = run.add_step

        def cut(step: Any) -> None:
            add_step(step)
            if step.step + 1 == last:
                raise Killed

        monkeypatch.setattr(run, "add_step", cut)
        with pytest.raises(Killed):
            train(run, tiny, tasks=TASKS)
        monkeypatch.setattr(run, "add_step", add_step)
        got: Any = mx.load(str(train(run, tiny, tasks=TASKS).path / "adapters.safetensors"))
    assert equal(got, wanted)


def test_a_validation_is_recalled_and_not_made_again(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        train(run, tiny, tasks=TASKS)
        (key,) = {key.rpartition(".")[0] for key in run.facts().stored if key.startswith("train.validations.")}
        again = Selection(run, tiny, TASKS, None, None, key.rpartition(".")[2])  # type: ignore[arg-type]
        again.recall(4)
        assert [validation.step for validation in again.validations] == [2, 4]
        assert again.validate(6).step == 6


def test_half_a_validation_is_made_again_from_its_start(tiny: Any, tmp_path: Path) -> None:
    left = make_attempt(task_id=TASKS[-1].id, arm=f"{ARM}/000002", sample=0, round=1, completion="left over")
    with open_run(tmp_path / "run") as run:
        run.add_attempt(left)
        train(run, tiny, tasks=TASKS)
        assert "left over" not in {attempt.completion for attempt in run.attempts(f"{ARM}/000002")}


def test_held_back_tasks_that_are_not_there_are_an_error_that_names_one(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run, pytest.raises(TrainingError, match="test/f8 among them"):
        train(run, tiny)


def test_without_tasks_held_back_the_last_step_is_the_adapter(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", held_back=0) as run:
        train(run, tiny)
        assert stored_validations(run) == []
        assert len(run.steps()) == 6
