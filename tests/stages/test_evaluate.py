from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import ConfigError, TaskError, UsageError
from mlx_selfdebug.evaluation.arms import answer, arms_named
from mlx_selfdebug.evaluation.figures import TaskFigures, figures_of
from mlx_selfdebug.evaluation.gate import Gate
from mlx_selfdebug.evaluation.played import ByArm, Played, by_arm
from mlx_selfdebug.evaluation.result import Score, score, score_model
from mlx_selfdebug.exporting.export import export
from mlx_selfdebug.progress import NullStage, Spent
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.evaluate import Player, StartingPoints, evaluate
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task
from mlx_selfdebug.training.adapter import open_adapter
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.verdict import Verdict

from ..support.values import FAILED, small_config

PASSED = Verdict("passed", n_passed=3, n_checks=3)
TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]


def test_a_problem_is_solved_by_all_its_checks_and_checks_are_counted_one_by_one() -> None:
    attempts = [
        make_attempt(task_id="a", verdict=PASSED),
        make_attempt(task_id="b", verdict=Verdict("failed", n_passed=2, n_checks=3)),
        make_attempt(task_id="c", verdict=Verdict("load_error", n_passed=0, n_checks=0)),
    ]
    figures = {"a": TaskFigures("python", 3, 9), "b": TaskFigures("python", 3, 9), "c": TaskFigures("python", 5, 9)}
    assert score(attempts, figures) == Score(problems=(1, 3), checks=(5, 11))


def made(*passed: bool, tokens: int = 10) -> list[Attempt]:
    """Attempts one after the other, of so many tokens, that pass the public checks or do not."""
    return [
        make_attempt(sample=i, public=PASSED if one else FAILED, n_completion_tokens=tokens)
        for i, one in enumerate(passed)
    ]


@pytest.mark.parametrize(
    ("attempts", "tokens", "sample"),
    [
        (made(False, True, True), 100, 1),
        (made(False, False, False), 100, 2),
        (made(False, False, True), 29, 1),
        (made(False, False, True), 30, 2),
        (made(False, True), 5, 0),
        (made(True), 5, 0),
    ],
)
def test_the_answer_is_the_first_that_passes_in_public_within_the_tokens_else_the_last(
    attempts: list[Attempt], tokens: int, sample: int
) -> None:
    assert answer(attempts, tokens).sample == sample


def test_a_right_draft_that_is_not_handed_in_does_not_count() -> None:
    """Its public checks failed, so nobody could know; the next one passed them and was wrong."""
    attempts = [
        make_attempt(task_id="a", public=FAILED, verdict=PASSED),
        make_attempt(task_id="a", sample=1, public=PASSED, verdict=FAILED),
    ]
    arms = {"first": {"a": attempts[:1]}, "facts": {"a": attempts}}
    found = score_model(Played({"a": TaskFigures("python", 3, 9)}, 100, {"base": arms}), "base")
    assert found.first_pass.problems == (1, 1)
    assert found.after_repair.problems == (0, 1)
    assert found.solved == {"first": ["a"], "facts": []}


def test_an_arm_nobody_knows_is_named_with_those_there_are() -> None:
    assert [arm.name for arm in arms_named("facts, blind")] == ["blind", "facts"]
    assert arms_named("") == []
    with pytest.raises(
        ConfigError,
        match=r"unknown arm 'fact'\. Known: blind, notice, code, facts, other-facts, edits, forks, edits\+blind",
    ):
        arms_named("blind,fact")


def test_a_reference_that_fails_its_own_checks_is_named() -> None:
    broken = replace(TASKS[1], reference="def double(x):\n    return 0\n")
    with TestRunner(workers=2) as runner, pytest.raises(TaskError, match="test/double: failed"):
        figures_of([TASKS[0], broken], runner)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path / "run", small_config(eval__tokens=400, eval__max_tokens=64)) as opened:
        yield opened


def play(run: Run, reply: Callable[[str, int], str], names: str = "blind,notice,code,facts,other-facts") -> ByArm:
    """All arms of a model that says what it is told, on three tasks; by arm and task its attempts."""
    model: Any = ScriptedModel(reply)
    arms = arms_named(names)
    with TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner:
        Player(run, model, runner, NullStage(), Spent()).play("base", StartingPoints(TASKS), arms)
    return by_arm(run, "base", arms)


def each(attempts: ByArm, arm: str) -> list[Attempt]:
    return [attempt for made in attempts[arm].values() for attempt in made]


def name_in(prompt: str) -> str:
    return next(task.entry_point for task in TASKS if f"def {task.entry_point}" in prompt)


def wrong(name: str) -> str:
    return f"def {name}(x):\n    return x - 50\n"


def right(name: str) -> str:
    return next(task.reference for task in TASKS if task.entry_point == name)


PUBLIC = {"square": 9, "double": 6, "cube": 27}
"""What the public check expects."""
FIGURES = {task.id: TaskFigures("python", 3, 9) for task in TASKS}


def problems(attempts: ByArm, tokens: int = 400) -> dict[str, int]:
    found = score_model(Played(FIGURES, tokens, {"base": attempts}), "base")
    return {arm: score.problems[0] for arm, score in found.scores.items()}


def test_a_model_that_always_copies_solves_nothing_in_any_arm(run: Run) -> None:
    attempts = play(run, lambda prompt, _: wrong(name_in(prompt)))
    assert set(problems(attempts).values()) == {0}


def test_a_model_that_needs_facts_solves_all_in_the_arms_that_show_its_own(run: Run) -> None:
    def reply(prompt: str, _: int) -> str:
        name = name_in(prompt)
        return right(name) if f"Expected: {PUBLIC[name]}\n" in prompt else wrong(name)

    assert problems(play(run, reply)) == {"first": 0, "blind": 0, "notice": 0, "code": 0, "facts": 3, "other-facts": 0}


def test_a_model_that_is_right_at_random_is_best_tried_again_where_it_copies_what_it_is_shown(run: Run) -> None:
    def reply(prompt: str, seed: int) -> str:
        name = name_in(prompt)
        lucky = "was tested" not in prompt and seed % 3 == 0
        return right(name) if lucky else wrong(name)

    found = problems(play(run, reply))
    assert found["blind"] == 3
    assert found["code"] == found["facts"] == found["other-facts"]


def test_all_arms_begin_with_the_same_drafts_which_are_decoded_once(run: Run) -> None:
    attempts = play(run, lambda prompt, _: wrong(name_in(prompt)))
    drafts = each(attempts, "first")
    assert {a.arm for a in drafts} == {"base/first"}
    assert all([a for a in each(attempts, arm) if a.arm == "base/first"] == drafts for arm in attempts)
    assert len(run.attempts("base/first")) == 3


def test_arms_stop_when_their_tokens_are_spent(run: Run) -> None:
    attempts = play(run, lambda prompt, _: wrong(name_in(prompt)))
    for name in ("blind", "facts"):
        for task in TASKS:
            spent = [a.n_completion_tokens for a in attempts[name][task.id]]
            assert sum(spent) >= 400 > sum(spent[:-1])


@pytest.mark.parametrize("public_checks", ["shown", "hidden"])
def test_public_checks_that_are_hidden_are_in_no_prompt_but_as_facts(tmp_path: Path, public_checks: str) -> None:
    config = small_config(eval__tokens=200, eval__max_tokens=64, eval__public_checks=public_checks)
    with Run(tmp_path / "run", config) as run:
        attempts = play(run, lambda prompt, _: wrong(name_in(prompt)), "blind,facts")
    asked = [attempt.prompt.partition("was tested") for arm in attempts for attempt in each(attempts, arm)]
    assert {"== 9" in before for before, _, _ in asked if "def square" in before} == {public_checks == "shown"}
    assert any("Expected: 9\n" in facts for _, _, facts in asked)


def test_the_facts_of_another_task_are_of_another_task(run: Run) -> None:
    attempts = play(run, lambda prompt, _: wrong(name_in(prompt)), "other-facts")
    repairs = [a for a in each(attempts, "other-facts") if a.round == 1]
    expected = {task.id: PUBLIC[task.entry_point] for task in TASKS}
    assert len(repairs) == 3
    for attempt in repairs:
        facts = attempt.prompt.partition("was tested")[2]
        assert f"Expected: {expected[attempt.task_id]}\n" not in facts
        assert any(f"Expected: {value}\n" in facts for value in expected.values())


def test_the_only_task_that_failed_has_nobody_elses_facts_and_is_left_as_it_is(run: Run) -> None:
    def reply(prompt: str, _: int) -> str:
        name = name_in(prompt)
        return wrong(name) if name == "cube" else right(name)

    attempts = play(run, reply, "facts,other-facts")
    assert any(a.round == 1 for a in each(attempts, "facts"))
    assert all(a.round == 0 for a in each(attempts, "other-facts"))


def open_run(path: Path, bugs: str = "none") -> Run:
    config = small_config(
        eval__max_tokens=8, eval__tokens=20, eval__arms="blind,facts", eval__bugs=bugs, train__epochs=1
    )
    run = Run(path, config)
    run.replace_pairs([Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))])
    return run


def test_base_and_adapter_meet_the_same_tasks_and_the_model_is_the_base_afterwards(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        result = evaluate(run, tiny, adapter, TASKS)
        arms = {a.arm for a in run.attempts()}
        again = evaluate(run, tiny, adapter, TASKS)
    assert arms == {f"{who}/{arm}" for who in ("base", "adapter") for arm in ("first", "blind", "facts")}
    assert result.base.first_pass.problems[1] == result.adapter.after_repair.problems[1] == 3
    assert result.base.first_pass.checks[1] == 9
    assert again == result
    assert not any("lora" in name for name, _ in tiny.network.named_modules())


def test_other_adapters_play_the_same_arms_by_their_names(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        first = evaluate(run, tiny, adapter, TASKS)
        result = evaluate(run, tiny, adapter, TASKS, others={"seed-1": adapter})
        later = evaluate(run, tiny, adapter, TASKS)
        arms = {a.arm for a in run.attempts() if a.arm.startswith("seed-1/")}
    assert first.others == {}
    assert arms == {"seed-1/first", "seed-1/blind", "seed-1/facts"}
    assert result.others["seed-1"].first_pass == result.adapter.first_pass
    assert later == result
    assert "seed-1" in str(result)


def test_an_adapter_that_peft_made_plays_the_same_arms(tiny: Any, tmp_path: Path) -> None:
    """The same adapter in mlx-lm's format writes the same, so the two solve the same."""
    theirs = open_adapter(Path(__file__).parents[1] / "models" / "peft" / "lora")
    converted = export(theirs.path, to="mlx", model=str(tiny.path), output=tmp_path / "converted").path
    with open_run(tmp_path / "run") as run:
        others = {"peft": theirs, "converted": open_adapter(converted)}
        result = evaluate(run, tiny, train(run, tiny), TASKS, others=others)
        texts = {name: [a.completion for a in run.attempts(f"{name}/first")] for name in (*others, "base")}
    assert result.others["peft"].arms == result.others["converted"].arms
    assert texts["peft"] == texts["converted"] != texts["base"]


@pytest.mark.parametrize("name", ["base", "Adapter", "held back/x", "", "a/b"])
def test_a_name_that_would_be_taken_for_another_is_refused(tiny: Any, tmp_path: Path, name: str) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        with pytest.raises(UsageError, match="cannot be named"):
            evaluate(run, tiny, adapter, TASKS, others={name: adapter})
        assert run.attempts() == []


def test_a_name_stands_for_one_adapter(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run, open_run(tmp_path / "other") as second:
        adapter = train(run, tiny)
        second.replace_pairs([Pair("direct", "python", "t", "Write g.", "def g(): return 2\n```", ("a",))])
        other = train(second, tiny)
        evaluate(run, tiny, adapter, TASKS, others={"seed-1": adapter})
        with pytest.raises(ConfigError, match="another adapter by the name seed-1"):
            evaluate(run, tiny, adapter, TASKS, others={"seed-1": other})


def test_the_result_prints_both_units_of_every_arm(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        text = str(evaluate(run, tiny, train(run, tiny), TASKS))
    for part in ("problems solved", "checks passed", "first draft", "then blind", "then facts", "20 generated tokens"):
        assert part in text


@pytest.mark.parametrize(
    ("first", "repaired", "passed"),
    [
        ((2, 2), (2, 3), True),
        ((2, 3), (2, 3), True),
        ((2, 1), (2, 3), False),
        ((2, 2), (3, 3), False),
        ((0, 0), (1, 0), False),
    ],
)
def test_the_gate_wants_drafts_no_worse_and_repairs_better(
    first: tuple[int, int], repaired: tuple[int, int], passed: bool
) -> None:
    gate = Gate(first, repaired, 4)
    assert gate.passed is passed
    assert str(gate).startswith(f"Recommended: the {'adapter' if passed else 'base'}. On 4 training tasks")


@pytest.mark.parametrize("in_hand", [False, True])
def test_the_gate_is_tried_on_the_tasks_held_back_and_the_adapter_marked(
    tiny: Any, tmp_path: Path, in_hand: bool
) -> None:
    """Found by the name of their set, or given."""
    learned = [make_task("cube", "x ** 3"), make_task("minus", "-x")]
    dump_tasks(learned, tmp_path / "tasks.jsonl")
    with Run(
        tmp_path / "run",
        small_config(
            collect__tasks="starter" if in_hand else str(tmp_path / "tasks.jsonl"), collect__max_tokens=8,
            eval__max_tokens=8, eval__tokens=20, eval__arms="blind", eval__bugs="none", train__epochs=1,
        ),
    ) as run:  # fmt: skip
        run.replace_pairs([Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))])
        run.remember("train.held_back", ["test/minus"])
        run.remember("collect.tasks", ["test/cube", "test/minus"])
        given = learned if in_hand else None
        adapter = train(run, tiny, tasks=given)
        result = evaluate(run, tiny, adapter, TASKS[:2], trained_on=given)
        overlap = run.facts().stored[Key.OVERLAP]
        arms = {a.arm for a in run.attempts() if a.task_id == "test/minus"}
    assert {(pair["train_id"], pair["test_id"]) for pair in overlap} == {
        (train_id, test_id) for train_id in ("test/cube", "test/minus") for test_id in ("test/square", "test/double")
    }
    assert result.gate == Gate((0, 0), (0, 0), 1)
    assert arms == {f"held back/{who}/{arm}" for who in ("base", "adapter") for arm in ("first", "facts")}
    settings = json.loads((adapter.path / "adapter_config.json").read_text())
    assert settings["gate"] == {
        "first": [0, 0], "repaired": [0, 0], "n": 1, "bugs": [0, 0], "n_bugs": 0, "passed": False
    }  # fmt: skip
    with adapter.applied(tiny):
        pass


def test_tasks_that_were_trained_on_are_refused(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        adapter = train(run, tiny)
        run.require("collect.tasks", ["test/square"], "set of training tasks")
        with pytest.raises(TaskError, match=r"1 of the evaluation tasks were trained on, test/square among them"):
            evaluate(run, tiny, adapter, TASKS)
