"""What the model read is stored with the run once: a few failed programs that its own search put right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.evaluation import readings
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.evaluation.readings import read_readings, remember_readings
from mlx_selfdebug.stages.evaluate import evaluate
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.testing import make_attempt, make_task, write_taught_model
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

from ..support.values import FAILED, small_config

TASKS = [make_task(), make_task("cube", "x ** 3")]
WRONG = "\ndef square(x):\n    return x - x\n"


def open_run(path: Path, arms: str) -> Run:
    how = {"eval__max_tokens": 48, "eval__tokens": 100, "train__epochs": 1}
    run = Run(path, small_config(eval__arms=arms, **how))
    run.replace_pairs([Pair("direct", "python", "t", "Write f.", "def f(): return 1\n```", ("a",))])
    return run


def add_search(run: Run, task_id: str, prefix: str = "bugs/", arm: str = "edits", **changes: Any) -> None:
    """A failed program of the base, and what a search made of it."""
    begun = make_attempt(task_id=task_id, arm=f"{prefix}given" if prefix else "base/first", code=WRONG, verdict=FAILED)
    edited: Attempt = replace(
        make_attempt(task_id=task_id, arm=f"{prefix}base/{arm}", parent=begun.id),
        kind="edits",
        finish="edited",
        round=1,
    )
    run.add_attempt(begun)
    run.add_attempt(replace(edited, **changes))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model that was taught a right answer to one task and a wrong one to the other."""
    from mlx_selfdebug.models.load import load_model

    lessons = {TASKS[0]: [TASKS[0].reference], TASKS[1]: ["def cube(x):\n    return x * 9\n"]}
    return load_model(str(write_taught_model(tmp_path_factory.mktemp("taught"), lessons)))


def test_an_evaluation_that_searches_stores_what_the_model_read_and_a_resumed_one_reads_nothing(
    taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "run", "edits,edits+blind") as run:
        adapter = train(run, taught)
        evaluate(run, taught, adapter, TASKS)
        stored = read_readings(run)
        monkeypatch.setattr(readings, "read", None)
        evaluate(run, taught, adapter, TASKS)
        assert read_readings(run) == stored
        given = {attempt.task_id: attempt.code for attempt in run.attempts("bugs/given")}
    bugs = [one for one in stored if one.half == BUGS]
    assert bugs
    for one in bugs:
        assert one.code == given[one.task_id].strip("\n")
        assert one.edited != given[one.task_id]
        assert max(shade.nats for shade in one.shades) > 0


def test_a_run_of_before_gets_the_same_readings_when_it_is_evaluated_again(taught: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", "edits") as run:
        adapter = train(run, taught)
        evaluate(run, taught, adapter, TASKS)
        stored = read_readings(run)
        run._write("DELETE FROM environment WHERE key = ?", (Key.READINGS,))
        assert read_readings(run) == []
        evaluate(run, taught, adapter, TASKS)
        assert read_readings(run) == stored


def test_bugs_come_before_own_failures_and_a_task_comes_once(tiny: Any, tmp_path: Path) -> None:
    task = TASKS[0]
    with open_run(tmp_path / "run", "edits,edits+blind") as run:
        add_search(run, task.id, "")
        add_search(run, f"{task.id}#b", arm="edits+blind")
        add_search(run, f"{task.id}#b")
        add_search(run, f"{task.id}#a")
        remember_readings(run, tiny, [task, replace(task, id=f"{task.id}#a"), replace(task, id=f"{task.id}#b")])
        found = read_readings(run)
    assert [(one.task_id.partition("#")[2], one.half) for one in found] == [("a", BUGS), ("b", BUGS), ("", OWN)]
    assert {one.code for one in found} == {WRONG.strip("\n")}


def test_no_more_than_three_are_read(tiny: Any, tmp_path: Path) -> None:
    tasks = [replace(TASKS[0], id=f"test/{i}") for i in range(5)]
    with open_run(tmp_path / "run", "edits") as run:
        for task in tasks:
            add_search(run, task.id)
        remember_readings(run, tiny, tasks)
        assert [one.task_id for one in read_readings(run)] == ["test/0", "test/1", "test/2"]


@pytest.mark.parametrize("changes", [{"finish": "exhausted"}, {"verdict": FAILED}, {"kind": "fork"}])
def test_only_edits_that_are_right_are_shown_and_that_there_is_none_is_stored(
    tiny: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with open_run(tmp_path / "run", "edits") as run:
        add_search(run, TASKS[0].id, **changes)
        remember_readings(run, tiny, TASKS)
        assert run.facts().stored[Key.READINGS] == []


def test_where_no_arm_searches_nothing_is_stored(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", "blind,facts") as run:
        remember_readings(run, tiny, TASKS)
        assert Key.READINGS not in run.facts().stored
