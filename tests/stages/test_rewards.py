"""A training by rewards learns from tests that were run, resumes bit for bit, and says why it ended."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.errors import BudgetError, ConfigError, TrainingError
from mlx_selfdebug.models.cache import CACHE_VARIABLE
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Key, Run, StoredRun, export_run, import_run, open_stored
from mlx_selfdebug.testing import make_attempt, make_task, write_taught_model
from mlx_selfdebug.training import reward_session
from mlx_selfdebug.training.selection import REWARDS, stored_validations
from mlx_selfdebug.values.task import Task

from ..support.stored import n_stored, wait_for_rows
from ..support.values import FAILED, small_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TASK = make_task("f", "x * x")
RIGHT, WRONG = "def f(x):\n    return x * x\n", "def f(x):\n    return x + x\n"
OTHER = make_task("g", "x * x")


@pytest.fixture(scope="module")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers each of two tasks with a right and a wrong code, each about as often."""
    lessons = {
        task: [f"def {task.entry_point}(x):\n    return x {sign} x\n" for sign in "*+"] for task in (TASK, OTHER)
    }
    return write_taught_model(tmp_path_factory.mktemp("taught"), lessons)


@pytest.fixture
def taught(taught_folder: Path) -> Any:
    from mlx_selfdebug.models.load import load_model

    return load_model(str(taught_folder))


def open_run(path: Path | str, tasks: list[Task] | None = None, *, held_back: bool = False, **overrides: Any) -> Run:
    """A run of drafts alone: two groups of eight per step, no pairs."""
    settings = {
        "train__reward_steps": 8,
        "train__reward_prompts": 1,
        "train__reward_max_tokens": 40,
        "train__reward_repair_share": 0.0,
        "train__reward_bug_share": 0.0,
        "train__reward_draft_share": 1.0,
        "train__reward_learning_rate": 5e-3,
        "collect__max_tokens": 40,
    }
    run = Run(path, small_config(**{**settings, **overrides}))
    run.remember(Key.TRAINING_TASKS, [task.id for task in tasks or [TASK]])
    if held_back:
        run.remember(Key.HELD_BACK, [OTHER.id])
        code = WRONG.replace("f(", "g(")
        run.add_attempt(make_attempt(task_id=OTHER.id, code=code, verdict=FAILED))
    return run


def go(run: Run, model: Any, tasks: list[Task] | None = None) -> dict[str, Any]:
    adapter = train(run, model, tasks=tasks or [TASK], allow_weak_sandbox=True)
    weights: Any = mx.load(str(adapter.path / "adapters.safetensors"))
    return weights


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(mx.array_equal(one[name], other[name]).item() for name in one)


def rollouts(run: StoredRun) -> list[tuple[str, tuple[int, ...]]]:
    return [(attempt.id, attempt.tokens) for attempt in run.attempts() if attempt.arm.startswith("rewards/")]


def timeless(run: StoredRun) -> list[dict[str, Any]]:
    return [{**step.to_record(), "rollouts_s": 0, "tests_s": 0, "gradient_s": 0} for step in run.reward_steps()]


def test_a_tiny_model_learns_the_right_answer_by_rewards_and_not_by_random_ones(taught: Any, tmp_path: Path) -> None:
    ends = {}
    for by in ("checks", "random"):
        options = {"train__reward_by": by, "train__reward_steps": 18, "train__reward_group_size": 16}
        with open_run(tmp_path / by, train__reward_learning_rate=3e-3, **options) as run:
            go(run, taught)
            passed = [step.passed for step in run.reward_steps()]
            ends[by] = sum(passed[-5:]) / 5
            assert sum(passed[:2]) / 2 < 0.4
    assert ends["checks"] > 0.7
    assert ends["random"] < 0.6


def test_every_step_is_recorded_with_its_reward_length_and_share_of_groups_that_vary(
    taught: Any, tmp_path: Path
) -> None:
    with open_run(tmp_path / "run", train__reward_steps=2) as run:
        go(run, taught)
        steps, made = run.reward_steps(), run.attempts("rewards/000001")
    assert [step.step for step in steps] == [0, 1]
    assert len(made) == steps[1].n_completions == 8
    assert steps[1].reward == pytest.approx(sum(attempt.passed for attempt in made) / 8)
    assert steps[1].n_tokens == pytest.approx(sum(attempt.n_completion_tokens for attempt in made) / 8)
    assert all(len(attempt.tokens) == attempt.n_completion_tokens for attempt in made)
    assert (steps[0].n_groups, steps[0].n_varied) == (1, 1)


class Killed(BaseException):
    """Stands for the end of the process: nothing that runs in it catches this."""


def killing(run: Run, moment: int) -> Callable[[], None]:
    """Have the run's process end at one of the moments at which something is stored."""
    left = [moment]
    names = ("add_attempt", "add_reward_step", "flush")
    real = {name: getattr(run, name) for name in names}

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real[name](*arguments)

        return call

    for name in names:
        setattr(run, name, counted(name))

    def undo() -> None:
        for name in names:
            delattr(run, name)

    return undo


def test_a_training_killed_at_ten_moments_has_the_same_rollouts_and_the_same_adapter(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_session, "CHECKPOINT_S", 0.0)
    options: dict[str, Any] = {"train__reward_steps": 6, "train__reward_every": 2, "held_back": True}
    options |= {"train__reward_repair_share": 0.5, "train__reward_draft_share": 0.5}
    tasks = [TASK, OTHER]
    with open_run(tmp_path / "whole", tasks, **options) as run:
        wanted, wanted_rollouts, wanted_steps = go(run, taught, tasks), rollouts(run), timeless(run)
    assert len(wanted_rollouts) == 48
    # The first step drafts, and later ones repair what failed there.
    assert {id_.split(":")[-1] for id_, _ in wanted_rollouts} == {"0", "1"}
    for moment in (0, 3, 9, 10, 14, 5, 2, 7, 11, 1):
        with open_run(tmp_path / "cut", tasks, **options) as run:
            undo = killing(run, moment)
            with pytest.raises(Killed):
                go(run, taught, tasks)
            undo()
    with open_run(tmp_path / "cut", tasks, **options) as run:
        assert same(go(run, taught, tasks), wanted)
        assert rollouts(run) == wanted_rollouts
        assert timeless(run) == wanted_steps


def test_rollouts_that_are_stored_are_not_drawn_again(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_session, "CHECKPOINT_S", 1e9)
    with open_run(tmp_path / "run", train__reward_steps=2) as run:
        undo = killing(run, 12)
        with pytest.raises(Killed):
            go(run, taught)
        undo()
    with open_run(tmp_path / "run", train__reward_steps=2) as run:
        before, add, added = rollouts(run), run.add_attempt, []
        monkeypatch.setattr(run, "add_attempt", lambda attempt: (added.append(attempt.id), add(attempt)))
        go(run, taught)
        assert before
        assert not {id_ for id_, _ in before} & set(added)
        assert len(rollouts(run)) == 16


def test_the_best_step_s_adapter_is_kept_and_may_be_the_one_it_began_with(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_selfdebug.training.selection import Selection, Validation

    def scored(self: Selection, step: int) -> Validation:
        validation = Validation(step, {0: 5, 2: 7, 4: 3}[step], 9)
        self._run.remember(f"train.validations.{self._training}.{step}", vars(validation))
        return validation

    monkeypatch.setattr(Selection, "repair_all", scored)
    tasks = [TASK, OTHER]
    options: dict[str, Any] = {"train__reward_steps": 4, "train__reward_every": 2}
    with open_run(tmp_path / "run", tasks, held_back=True, **options) as run:
        kept = go(run, taught, tasks)
        assert run.facts().stored[Key.REWARD_ENDING] == {"steps": 4, "reason": "all 4 steps were made", "kept": 2}
        assert [validation.step for validation in stored_validations(run, REWARDS)] == [0, 2, 4]
    with open_run(tmp_path / "shorter", train__reward_steps=2) as run:
        assert same(go(run, taught), kept)


def test_patience_ends_the_training_with_its_reason(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [TASK, OTHER]
    options: dict[str, Any] = {"train__reward_every": 1, "train__patience": 2, "train__reward_learning_rate": 1e-9}
    with open_run(tmp_path / "run", tasks, held_back=True, **options) as run:
        go(run, taught, tasks)
        ending = run.facts().stored[Key.REWARD_ENDING]
    assert ending["steps"] == 2
    assert "2 tries of the held-back tasks in a row" in ending["reason"]


def test_rewards_that_never_vary_end_the_training_early_with_the_reason_and_the_adapter_as_it_was(
    taught: Any, tmp_path: Path
) -> None:
    hopeless = replace(TASK, hidden=make_task("f", "x - 99").hidden)
    with open_run(tmp_path / "run", [hopeless], train__reward_barren=3) as run:
        weights = go(run, taught, [hopeless])
        ending, steps = run.facts().stored[Key.REWARD_ENDING], run.reward_steps()
    assert ending["steps"] == 3
    assert ending["reason"] == "in 3 steps in a row, all completions of each prompt got the same reward"
    assert {step.grad_norm for step in steps} == {0.0}
    assert all(not mx.any(weights[name]).item() for name in weights if name.endswith("lora_b"))


def test_another_mix_of_prompts_is_refused_in_a_resumed_run(taught: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", train__reward_steps=1) as run:
        undo = killing(run, 9)
        with pytest.raises(Killed):
            go(run, taught)
        undo()
    with pytest.raises(ConfigError, match=r"train\.reward_draft_share: the run has 1\.0, asked for 0\.5"):
        open_run(tmp_path / "run", train__reward_steps=1, train__reward_draft_share=0.5)
    with open_run(tmp_path / "other", train__reward_repair_share=1.0, train__reward_steps=1) as run:
        run.add_attempt(make_attempt(task_id=TASK.id, code=WRONG, verdict=FAILED))
        undo = killing(run, 3)
        with pytest.raises(Killed):
            go(run, taught)
        undo()
        run.add_attempt(make_attempt(task_id=TASK.id, sample=1, code=WRONG + "\nx = 1\n", verdict=FAILED))
        with pytest.raises(ConfigError, match="another mix of prompts for rewards"):
            go(run, taught)


def test_the_stage_goes_on_from_the_adapter_of_the_pairs_and_keeps_that_beside(taught: Any, tmp_path: Path) -> None:
    from mlx_selfdebug.values.pair import Pair

    pairs = [Pair("direct", "python", TASK.id, "Write it.", "def f(x): return x * x\n```", ("a",))]
    barren = {"train__reward_barren": 1, "train__reward_steps": 5, "train__learning_rate": 1e-3}
    hopeless = replace(TASK, hidden=make_task("f", "x - 99").hidden)
    with open_run(tmp_path / "run", [hopeless], **barren) as run:
        run.replace_pairs(pairs)
        ended = go(run, taught, [hopeless])
        of_pairs: Any = mx.load(str(run.pairs_adapter_path / "adapters.safetensors"))
        assert run.is_done("train")
        assert run.is_done("rewards")
    assert same(ended, of_pairs)
    with open_run(tmp_path / "pairs", train__reward_steps=0, train__learning_rate=1e-3) as run:
        run.replace_pairs(pairs)
        assert same(go(run, taught), of_pairs)


def test_the_divergence_from_the_base_is_a_part_of_the_loss_once_the_model_has_moved(
    taught: Any, tmp_path: Path
) -> None:
    steps = {}
    for weight in (0.0, 0.5):
        with open_run(tmp_path / str(weight), train__reward_kl=weight, train__reward_steps=3) as run:
            go(run, taught)
            steps[weight] = run.reward_steps()
    assert steps[0.0][0].loss == pytest.approx(steps[0.5][0].loss, abs=1e-5)
    assert [step.loss for step in steps[0.0][1:]] != [step.loss for step in steps[0.5][1:]]


def test_hidden_checks_that_equal_the_public_ones_are_said(
    taught: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_task = replace(TASK, hidden=TASK.public)
    with caplog.at_level(logging.WARNING), open_run(tmp_path / "run", [open_task], train__reward_steps=1) as run:
        go(run, taught, [open_task])
    assert "the hidden checks of 1 of 1 tasks are the public ones, test/f among them" in caplog.text


def test_no_prompts_is_an_error_that_says_what_to_do(taught: Any, tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", train__reward_draft_share=0.0, train__reward_bug_share=1.0) as run,
        pytest.raises(TrainingError, match="no prompts to reward") as caught,
    ):
        go(run, taught)
    assert "--train-reward-draft-share" in str(caught.value.hint)


def test_prompts_without_room_for_a_completion_are_refused(taught: Any, tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", train__max_length=64) as run,
        pytest.raises(TrainingError, match="prompts for rewards are longer than 24 tokens"),
    ):
        go(run, taught)


def test_groups_that_do_not_fit_the_budget_are_refused_with_what_would(taught: Any, tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", budget__training_gb=0.1) as run,
        pytest.raises(BudgetError, match=r"a prompt of \d+ tokens and completions of up to 40, 8 of them") as caught,
    ):
        go(run, taught)
    assert "--budget-training-gb" in str(caught.value.hint)


def test_the_steps_survive_export_and_import(taught: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", train__reward_steps=1) as run:
        go(run, taught)
        wanted, tokens = run.reward_steps(), rollouts(run)
    with (tmp_path / "run.jsonl").open("w") as file:
        export_run(tmp_path / "run", file)
    assert json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])["lines"]["reward_step"] == 1
    import_run(tmp_path / "run.jsonl", tmp_path / "again")
    with open_stored(tmp_path / "again") as run:
        assert (run.reward_steps(), rollouts(run)) == (wanted, tokens)  # type: ignore[arg-type]


def test_the_report_and_the_summary_show_the_rewards_and_how_they_ended(taught: Any, tmp_path: Path) -> None:
    from mlx_selfdebug.reporting.records import read_records
    from mlx_selfdebug.reporting.report.markdown import report_markdown
    from mlx_selfdebug.reporting.report.page import report_html
    from mlx_selfdebug.reporting.summary import summarize

    tasks = [TASK, OTHER]
    with open_run(tmp_path / "run", tasks, held_back=True, train__reward_steps=2, train__reward_every=1) as run:
        go(run, taught, tasks)
        records, summary = read_records(run), summarize(run, None)
    text, page = report_markdown(records), report_html(records)
    assert "## Training by rewards" in text
    assert "The training by rewards ended after 2 steps: all 2 steps were made." in text
    assert 'aria-label="Training by rewards"' in page
    assert [stage.name for stage in records.stages] == ["rewards"]
    assert summary["rewards"]["steps"] == 2
    assert summary["attempts"]["by_arm"]["rewards"] == 16
    assert len(summary["rewards"]["validations"]) == 3


REWARDING = """
import sys
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.training import reward_session
from tests.stages.test_rewards import go, open_run
reward_session.CHECKPOINT_S = 0.0
with open_run(sys.argv[1]) as run:
    go(run, load_model(sys.argv[2]))
"""


def rewarding(run: Path, model: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, CACHE_VARIABLE: str(run.parent / "cache")}
    return subprocess.Popen([sys.executable, "-c", REWARDING, str(run), str(model)], cwd=ROOT, env=environment)


def test_a_process_killed_ten_times_ends_with_the_rollouts_and_the_adapter_of_one_left_alone(
    taught_folder: Path, tmp_path: Path
) -> None:
    assert rewarding(tmp_path / "whole", taught_folder).wait(timeout=240) == 0
    whole = n_stored(tmp_path / "whole")
    moments = sorted(random.Random(0).sample(range(whole - 4), 10))
    for moment in moments:
        process = rewarding(tmp_path / "cut", taught_folder)
        wait_for_rows(moment, tmp_path / "cut", process)
        process.kill()
        process.wait()
    assert 0 < n_stored(tmp_path / "cut") < whole
    assert rewarding(tmp_path / "cut", taught_folder).wait(timeout=240) == 0
    ends = []
    for name in ("whole", "cut"):
        with open_stored(tmp_path / name) as run:
            weights: Any = mx.load(str(run.adapter_path / "adapters.safetensors"))
            ends.append((rollouts(run), timeless(run), weights))
    assert ends[0][:2] == ends[1][:2]
    assert same(ends[0][2], ends[1][2])
