"""The points of a run are what its rows say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.evaluation.result import read_result
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.tracking import Point, PointReader
from mlx_selfdebug.values.step import RewardStep, Step
from mlx_selfdebug.values.verdict import Verdict

from ..support.runs import make_run

FAILED = Verdict("failed", n_passed=0, n_checks=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was collected, trained and evaluated."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    make_run(path, tasks=6, pairs=4, others=("seed-1",)).close()
    return path


def points(path: Path, series: str) -> list[Point]:
    return [point for point in PointReader(path).read() if point.series == series]


def test_no_two_points_have_the_same_series_and_step(whole: Path) -> None:
    keys = [(point.series, point.step) for point in PointReader(whole).read()]
    assert len(keys) == len(set(keys)) > 50


def test_a_training_step_is_a_point_with_the_figures_of_its_row(whole: Path) -> None:
    with open_stored(whole) as run:
        steps = run.steps()
    assert [point.step for point in points(whole, "train")] == [step.step for step in steps]
    for step, point in zip(steps, points(whole, "train"), strict=True):
        assert point.figures == {
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "grad_norm": step.grad_norm,
            "n_tokens": step.n_tokens,
            "wall_s": step.wall_s,
            "tokens_per_s": step.n_tokens / step.wall_s,
        }
        assert point.named["train/loss"] == step.loss


def test_a_validation_on_the_held_back_tasks_is_a_point(whole: Path) -> None:
    assert points(whole, "train/held_back") == [
        Point("train/held_back", 12, {"repaired": 3, "attempts": 9}),
        Point("train/held_back", 24, {"repaired": 5, "attempts": 9}),
    ]


def test_a_reward_step_is_a_point_with_the_share_of_groups_that_vary(run: Run) -> None:
    run.add_reward_step(RewardStep(7, 4, 3, 32, 0.25, 0.5, 0.0, 61.5, 0.01, 2e-5, 0.5, 10.0, 1.0, 5.0))
    run.remember("train.validations.rewards-abc.5", {"step": 5, "repaired": 2, "attempts": 6})
    [point] = points(run.path, "rewards")
    assert point.step == 7
    assert (point.figures["reward"], point.figures["varied_share"], point.figures["n_tokens"]) == (0.25, 0.75, 61.5)
    assert points(run.path, "rewards/held_back") == [Point("rewards/held_back", 5, {"repaired": 2, "attempts": 6})]
    assert points(run.path, "train/held_back") == []


def test_what_has_been_collected_is_counted_from_the_attempts(run: Run) -> None:
    assert PointReader(run.path).read() == []
    run.add_attempt(make_attempt())
    run.add_attempt(make_attempt(task_id="test/double", verdict=FAILED))
    run.add_attempt(make_attempt(task_id="test/double", round=1, kind="repair"))
    run.add_attempt(make_attempt(task_id="test/double", sample=1, kind="fork", verdict=FAILED))
    run.add_attempt(make_attempt(arm="bugs", kind="given", verdict=FAILED))
    run.add_attempt(make_attempt(arm="base/first"))
    run.flush()
    figures = {
        "attempts": 4, "passed": 2, "tasks_solved": 2, "drafts": 2, "edits": 0, "forks": 1, "repairs": 1, "bugs": 1,
    }  # fmt: skip
    assert PointReader(run.path).read() == [Point("collect", 5, figures)]


def test_more_attempts_are_another_point(run: Run) -> None:
    reader = PointReader(run.path)
    steps = []
    for sample in range(3):
        run.add_attempt(make_attempt(sample=sample))
        run.flush()
        steps += [point.step for point in reader.read()]
    assert steps == [1, 2, 3]


def test_pairs_are_counted_by_kind(whole: Path) -> None:
    [point] = points(whole, "pairs")
    assert point.figures == {"repair": 2, "bug": 0, "direct": 1, "keep": 1, "total": 4}


def test_a_stage_begins_with_a_point_and_the_end_of_each_session_is_another(run: Run) -> None:
    run.remember("machine.train", {"versions": {}, "hardware": {}})
    begin = Point("stages/train", 0, {"done": 0})
    assert points(run.path, "stages/train") == [begin]
    ends = []
    for wall_s, done in ((2.0, False), (3.0, True), (0.25, True)):
        run.add_stage_time("train", wall_s, 7, done=done)
        first, end = points(run.path, "stages/train")
        assert first == begin
        ends.append(end)
    assert ends == [
        Point("stages/train", 2000, {"done": 0, "wall_s": 2.0, "peak_bytes": 7}),
        Point("stages/train", 5000, {"done": 1, "wall_s": 5.0, "peak_bytes": 7}),
        Point("stages/train", 5250, {"done": 1, "wall_s": 5.25, "peak_bytes": 7}),
    ]


def test_the_scores_are_those_of_the_result(whole: Path) -> None:
    with open_stored(whole) as run:
        result = read_result(run)
    assert result is not None
    named = {name: value for point in PointReader(whole).read() for name, value in point.named.items()}
    assert named["eval/own_failures/problems"] == result.n == 6
    for name, model in result.models.items():
        for arm, score in model.scores.items():
            assert named[f"eval/own_failures/{name}/{arm}/problems_solved"] == score.problems[0]
            assert named[f"eval/own_failures/{name}/{arm}/checks_passed"] == score.checks[0]
    assert result.bugs is not None
    assert result.gate is not None
    facts = result.bugs.adapter.arms["facts"]
    assert named["eval/bugs/adapter/facts/problems_solved"] == facts.problems[0]
    assert "eval/own_failures/seed-1/facts/problems_solved" in named
    assert named["eval/gate/adapter_recommended"] == result.gate.passed


def scores(points: list[Point]) -> int:
    return sum(point.series.startswith("eval/") for point in points)


def test_an_evaluation_that_is_not_finished_has_no_scores(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=4, pairs=2) as run:
        run.add_stage_time("evaluate", 1.0, 1, done=False)
    assert scores(PointReader(tmp_path / "run").read()) == 0


def test_scores_from_before_wait_for_the_end_while_a_run_is_under_way(tmp_path: Path) -> None:
    """Another adapter may be evaluated in the meantime, and its scores so far would be those of a part."""
    with make_run(tmp_path / "run", tasks=4, pairs=2) as run:
        reader = PointReader(run.path)
        assert scores(reader.read(under_way=True)) == 0
        assert scores(reader.read()) > 0
        run.add_stage_time("evaluate", 1.0, 1, done=True)
        assert scores(reader.read(under_way=True)) > 0


def test_a_step_made_again_is_the_same_point(run: Run) -> None:
    run.add_step(Step(0, 1.5, 100, 1e-4, 0.5, 2.0))
    before = points(run.path, "train")
    run.delete_steps(0)
    run.add_step(Step(0, 1.5, 100, 1e-4, 0.5, 2.0))
    assert points(run.path, "train") == before
