"""An evaluation with bugs: every model begins with the same ones, and both halves are in the result, also of a resumed run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import ConfigError
from mlx_selfdebug.evaluation.arms import arms_named
from mlx_selfdebug.evaluation.bugs import EVALUATION, bugs_of, given_attempts
from mlx_selfdebug.evaluation.evidence import read_evidence
from mlx_selfdebug.evaluation.figures import figures_of
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.metrics import Point
from mlx_selfdebug.evaluation.played import read_bugs, remember_figures
from mlx_selfdebug.evaluation.result import Half, Result, read_result
from mlx_selfdebug.progress import NullStage, Spent
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.evaluate import Player, StartingPoints, evaluate
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.testing import ScriptedDecoder, ScriptedModel, make_task, write_taught_model
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.task import Task

from ..support.values import small_config

pytestmark = pytest.mark.slow

TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]
HELD_BACK = make_task("minus", "-x")


def play_bugs(path: Path, model: Any, arms: str) -> Result:
    """Both halves by a model that says what it is told, as base and as adapter, on three tasks."""
    config = small_config(eval__tokens=400, eval__max_tokens=64, eval__arms=arms)
    with Run(path, config) as run, TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner:
        bugs = bugs_of(run, EVALUATION, "operators", TASKS, runner)
        remember_figures(run, Key.FIGURES, figures_of(TASKS, runner))
        remember_figures(run, Key.BUG_FIGURES, figures_of(bugs, runner))
        for who in ("base", "adapter"):
            player = Player(run, model, runner, NullStage(), Spent())
            player.play(who, StartingPoints(TASKS, bugs), arms_named(arms))
        run.add_stage_time("evaluate", 1.0, 1, done=True)
        result = read_result(run)
    assert result
    return result


def solved(half: Half | None, model: str = "base") -> dict[str, int]:
    assert half
    return {arm: score.problems[0] for arm, score in half.models[model].arms.items()}


def asked_of(prompt: str) -> Task:
    return next(task for task in TASKS if f"def {task.entry_point}" in prompt)


def test_a_model_that_repairs_what_it_is_shown_repairs_every_bug_and_drafts_none(tmp_path: Path) -> None:
    def reply(prompt: str, _: int) -> str:
        task = asked_of(prompt)
        return task.reference if "was tested" in prompt else f"def {task.entry_point}(x):\n    return x - 50\n"

    result = play_bugs(tmp_path / "run", ScriptedModel(reply), "blind,facts")
    assert result.bugs
    assert result.bugs.n == 3
    assert solved(result.bugs) == solved(result.bugs, "adapter") == {"blind": 0, "facts": 3}


def test_the_first_draft_that_follows_a_bug_is_greedy_and_takes_the_first_tokens(tmp_path: Path) -> None:
    model = ScriptedModel(lambda prompt, _: asked_of(prompt).reference)
    result = play_bugs(tmp_path / "run", model, "blind")
    assert solved(result.bugs) == {"blind": 3}
    assert {request.temperature for request in model.asked} == {0.0}
    with Run(tmp_path / "run") as run:
        assert {(a.sample, a.round) for a in run.attempts("bugs/base/blind")} == {(1, 0)}
        evidence = read_evidence(run)
    assert evidence
    assert evidence.bugs
    [blind, _] = evidence.bugs.arms
    assert blind.curve[0] == Point(tokens=0, solved=0)
    assert (blind.n_attempts, blind.n_read_tokens, blind.n_tries) == (3, 0, 0)


def test_the_facts_of_another_task_are_not_those_of_another_bug_of_the_same(tmp_path: Path) -> None:
    model = ScriptedModel(lambda prompt, _: f"def {asked_of(prompt).entry_point}(x):\n    return x - 50\n")
    arms = arms_named("other-facts")
    config = small_config(eval__tokens=200, eval__max_tokens=64, eval__bugs_per_task=2)
    with Run(tmp_path / "run", config) as run, TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner:
        bugs = bugs_of(run, EVALUATION, "operators", TASKS[:1], runner)
        player: Any = Player(run, model, runner, NullStage(), Spent())  # type: ignore[arg-type]
        player.play("base", StartingPoints(TASKS, bugs), arms)
        assert len(bugs) == 2
        assert run.attempts("bugs/base/other-facts") == []


def test_bugs_are_played_in_the_batch_of_the_first_drafts(tmp_path: Path) -> None:
    opened: list[int] = []

    class Model(ScriptedModel):
        def decoder(self, *, max_rows: int, **options: Any) -> ScriptedDecoder:
            opened.append(max_rows)
            return super().decoder(max_rows=max_rows, **options)

    model = Model(lambda prompt, _: f"def {asked_of(prompt).entry_point}(x):\n    return x - 50\n")
    config = small_config(eval__tokens=200, eval__max_tokens=64)
    with Run(tmp_path / "run", config) as run, TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner:
        bugs = bugs_of(run, EVALUATION, "operators", TASKS, runner)
        player: Any = Player(run, model, runner, NullStage(), Spent())  # type: ignore[arg-type]
        player.play("base", StartingPoints(TASKS, bugs, TASKS, ()), arms_named("blind,facts"))
        assert {attempt.arm for attempt in run.attempts()} >= {"base/blind", "bugs/base/blind"}
    assert len(opened) == 2, "one for the first drafts and the bugs, one for what follows the drafts"


def open_run(path: Path, **settings: Any) -> Run:
    how = {"eval__max_tokens": 8, "eval__tokens": 20, "eval__arms": "blind,facts", "train__epochs": 1, **settings}
    run = Run(path, small_config(**how))
    run.replace_pairs([Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))])
    return run


def test_base_and_adapter_begin_with_the_same_bugs_and_a_resumed_run_makes_nothing_twice(
    tiny: Any, tmp_path: Path
) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        result = evaluate(run, tiny, adapter, TASKS)
        rows = run.attempts()
        again = evaluate(run, tiny, adapter, TASKS)
        assert run.attempts() == rows
        given = given_attempts(run, EVALUATION)
        played = read_bugs(run)
    assert played
    for model in ("base", "adapter"):
        assert {id_: [one] for id_, one in given.items()} == played.models[model]["first"]
        assert {a.task_id for a in rows if a.arm == f"bugs/{model}/facts"} == given.keys()
    assert again == result
    assert result.bugs
    assert result.bugs.base.first_pass.problems == (0, 3)
    for part in ("bugs repaired", "checks passed, bugs", "On bugs, there is no evidence that the trained model"):
        assert part in str(result)
    assert max(map(len, str(result).splitlines())) <= 80


def test_a_run_that_was_killed_ends_with_the_rows_of_one_that_was_left_alone(tiny: Any, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Kill(NullStage):
        left = 9

        def advance(self, n: int = 1, note: str = "") -> None:
            self.left -= n
            if self.left < 0:
                raise Killed

    class Killing:
        def stage(self, name: str, total: int | None = None, unit: str = "") -> Any:
            from contextlib import nullcontext

            return nullcontext(Kill())

    def rows(name: str, kills: bool) -> list[tuple[str, str, str]]:
        with open_run(tmp_path / name) as run:
            adapter = train(run, tiny)
            if kills:
                with pytest.raises(Killed):
                    evaluate(run, tiny, adapter, TASKS, progress=Killing())
            evaluate(run, tiny, adapter, TASKS)
            return [(a.id, a.code, a.verdict.outcome) for a in run.attempts()]

    assert rows("cut", True) == rows("whole", False)


def test_without_bugs_there_is_one_half(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", eval__bugs="none") as run:
        result = evaluate(run, tiny, train(run, tiny), TASKS)
    assert result.bugs is None
    assert "bugs" not in str(result)
    assert result.to_dict()["bugs"] is None


def test_a_run_that_was_evaluated_before_there_were_bugs_is_read_and_gets_them_when_it_is_evaluated_again(
    tiny: Any, tmp_path: Path
) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        with_bugs = evaluate(run, tiny, adapter, TASKS)
        for arm in {a.arm for a in run.attempts() if a.arm.startswith("bugs/")}:
            run.delete_attempts(arm)
        run._write("DELETE FROM environment WHERE key LIKE 'eval.bugs%'")
        before = read_result(run)
        evidence = read_evidence(run)
        later = evaluate(run, tiny, adapter, TASKS)
    assert before
    assert before.bugs is None
    assert before.base == with_bugs.base
    assert evidence
    assert evidence.bugs is None
    assert later == with_bugs


def test_a_source_of_bugs_nobody_knows_is_refused_before_anything_is_drafted(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", eval__bugs="mutants") as run:
        adapter = train(run, tiny)
        with pytest.raises(ConfigError, match=r"eval\.bugs"):
            evaluate(run, tiny, adapter, TASKS)
        assert run.attempts() == []


def test_the_gate_looks_at_bugs_in_the_tasks_that_were_held_back(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        run.remember("train.held_back", [HELD_BACK.id])
        run.remember("collect.tasks", [HELD_BACK.id])
        adapter = train(run, tiny, tasks=[HELD_BACK])
        result = evaluate(run, tiny, adapter, TASKS, trained_on=[HELD_BACK])
        arms = {a.arm for a in run.attempts() if a.task_id.startswith(f"{HELD_BACK.id}#")}
    assert result.gate == Gate((0, 0), (0, 0), 1, (0, 0), 1)
    assert "Of 1 bug put into these tasks they repair 0 and 0." in str(result.gate)
    assert arms == {"held back/bugs/given", "held back/bugs/base/facts", "held back/bugs/adapter/facts"}
    settings = json.loads((adapter.path / "adapter_config.json").read_text())
    assert settings["gate"]["n_bugs"] == 1


@pytest.mark.parametrize(
    ("repaired", "bugs", "passed"),
    [((2, 3), (4, 4), True), ((3, 2), (2, 5), True), ((3, 3), (4, 4), False), ((2, 4), (6, 3), False)],
)
def test_the_gate_takes_own_failures_and_bugs_together(
    repaired: tuple[int, int], bugs: tuple[int, int], passed: bool
) -> None:
    assert Gate((1, 1), repaired, 4, bugs, 9).passed is passed
    assert not Gate((2, 1), repaired, 4, bugs, 9).passed


def test_hard_tasks_are_those_of_which_no_draft_is_right_and_their_bugs_are_counted_apart(
    tiny: Any, tmp_path: Path
) -> None:
    known = replace(TASKS[2], pass_rate=0.5)
    with open_run(tmp_path / "run", eval__hard_drafts=2) as run:
        result = evaluate(run, tiny, train(run, tiny), [*TASKS[:2], known])
        drafts = run.attempts("base/drafts")
    assert {(a.task_id, a.sample) for a in drafts} == {(task.id, i) for task in TASKS[:2] for i in range(2)}
    assert result.hard == ["test/double", "test/square"]
    assert result.bugs
    assert result.bugs.hard
    assert {id_.rpartition("#")[0] for id_ in result.bugs.hard} == {"test/square", "test/double"}
    for head in ("hard problems solved", "bugs of hard tasks"):
        assert head in str(result)


def test_where_hard_tasks_are_not_looked_for_they_are_not_known(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        result = evaluate(run, tiny, train(run, tiny), TASKS)
    assert result.hard is None
    assert "hard" not in str(result)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model that was taught a wrong answer to one task and right ones to the others."""
    from mlx_selfdebug.models.load import load_model

    lessons = {task: [task.reference] for task in TASKS[:2]} | {TASKS[2]: ["def cube(x):\n    return x * 9\n"]}
    return load_model(str(write_taught_model(tmp_path_factory.mktemp("taught"), lessons)))


SEARCHES = "blind,edits,forks,edits+forks+blind,edits+forks+facts"


def test_a_taught_model_is_searched_in_both_halves_and_a_resumed_run_searches_nothing_twice(
    taught: Any, tmp_path: Path
) -> None:
    with open_run(tmp_path / "run", eval__arms=SEARCHES, eval__tokens=120, eval__max_tokens=48, eval__forks=2) as run:
        adapter = train(run, taught)
        result = evaluate(run, taught, adapter, TASKS)
        rows = run.attempts()
        assert evaluate(run, taught, adapter, TASKS) == result
        assert run.attempts() == rows
        evidence = read_evidence(run)
    for arm in ("base/edits+forks+blind", "bugs/base/edits+forks+blind", "bugs/adapter/edits+forks+facts"):
        made: dict[str, list[str]] = {}
        for attempt in sorted((a for a in rows if a.arm == arm), key=lambda a: (a.sample, a.round)):
            made.setdefault(attempt.task_id, []).append(attempt.kind)
        assert made
        for kinds in made.values():
            assert kinds[0] == "edits"
            assert kinds == sorted(kinds, key=["edits", "fork", "repair", "draft"].index)
    edits = [a for a in rows if a.arm == "bugs/base/edits"]
    assert {a.kind for a in edits} == {"edits"}
    assert all(a.n_completion_tokens == 0 and a.finish in ("edited", "exhausted") for a in edits)
    assert any(a.passed for a in edits)
    assert evidence
    assert evidence.bugs
    by_name = {arm.name: arm for arm in evidence.bugs.arms}
    assert by_name["base/edits"].n_tokens == 0
    assert min(by_name["base/edits"].n_tries, by_name["base/edits"].n_read_tokens) > 0
    assert [one.model for one in result.searching("bugs")] == ["base", "adapter"]
