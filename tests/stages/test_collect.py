from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import ConfigError, TaskError
from mlx_selfdebug.stages.collect import collect
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.tasks import Checks, Task
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt

from ..support.values import small_config

pytestmark = pytest.mark.slow

TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3"), make_task("negate", "-x")]


def reply(prompt: str, seed: int) -> str:
    """Solves `square` on some drafts, `double` on repair alone, `cube` never, `negate` always."""
    name = next(name for name in ("square", "double", "cube", "negate") if f"def {name}" in prompt)
    right = {"square": seed % 3 != 0, "double": "was tested" in prompt, "cube": False, "negate": True}[name]
    expression = {"square": "x * x", "double": "x + x", "cube": "x ** 3", "negate": "-x"}[name]
    return f"def {name}(x):\n    return {expression if right else f'x + {seed % 7 + 50}'}\n"


def open_run(path: Path, **overrides: Any) -> Run:
    return Run(path, small_config(**{"collect__samples": 4, "collect__batch_size": 8, **overrides}))


ASKING = {"collect__edits": 0, "collect__forks": 0, "collect__rounds": 1}
"""Nothing but asking for repairs follows a failed draft."""


def rows(attempts: list[Attempt]) -> list[tuple[Any, ...]]:
    return sorted(
        (a.id, a.parent, a.prompt, a.code, a.verdict.outcome, a.verdict.failures, a.seed, a.tidied) for a in attempts
    )


def test_every_draft_is_tested_and_stored(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        attempts = collect(run, ScriptedModel(reply), TASKS)
        assert rows(run.attempts("collect")) == rows(attempts)
    drafts = [a for a in attempts if a.round == 0]
    assert len(drafts) == 16
    assert all(a.passed == (a.code == "def negate(x):\n    return -x\n") for a in drafts if a.task_id == "test/negate")


def test_an_answer_is_tidied_and_the_steps_are_recorded(tmp_path: Path) -> None:
    said = "    return math.prod((x, x))\n\nThis is the square.\n"
    code = "def square(x):\n    return math.prod((x, x))\n"
    with open_run(tmp_path / "run") as run:
        attempts = collect(run, ScriptedModel(lambda prompt, seed: said), TASKS[:1])
        targets = {pair.target for pair in run.pairs() if pair.kind == "direct"}
    assert all(a.passed for a in attempts)
    assert {(a.completion, a.code, a.tidied) for a in attempts} == {(said, code, ("prose", "bare_body", "imports"))}
    assert targets <= {code + "```"}


def test_only_tasks_no_draft_solved_are_repaired_and_at_most_two_of_different_code(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", **ASKING) as run:
        repairs = [a for a in collect(run, ScriptedModel(reply), TASKS) if a.round == 1]
    assert {a.task_id for a in repairs} <= {"test/double", "test/cube"}
    by_task = [sum(a.task_id == name for a in repairs) for name in ("test/double", "test/cube")]
    assert all(1 <= n <= 2 for n in by_task)
    assert all(a.passed for a in repairs if a.task_id == "test/double")


def test_what_an_edit_mends_becomes_a_repair_pair_of_a_real_failure(tmp_path: Path) -> None:
    wrong, right = "def cube(x):\n    return x + 3\n", "def cube(x):\n    return x ** 3\n"
    with open_run(tmp_path / "run", train__held_back_share=0.0) as run:
        attempts = collect(run, ScriptedModel(lambda prompt, seed: wrong), TASKS[2:3])
        (pair,) = [pair for pair in run.pairs() if pair.kind == "repair"]
    (edited,) = [a for a in attempts if a.kind == "edits"]
    assert edited.code == right
    assert wrong.strip() in pair.prompt
    assert pair.target == f"{right}```"
    assert pair.attempts[1] == edited.id


def test_a_repair_is_told_its_parents_code_and_facts(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", **ASKING) as run:
        attempts = {a.id: a for a in collect(run, ScriptedModel(reply), TASKS)}
    repair = next(a for a in attempts.values() if a.task_id == "test/cube" and a.round == 1)
    parent = attempts[repair.parent]
    assert parent.code.strip() in repair.prompt
    assert "Input: 3\nExpected: 27\nGot: " in repair.prompt


@pytest.mark.parametrize("stored", range(0, 20, 3))
def test_a_run_cut_short_anywhere_ends_with_the_rows_of_an_uninterrupted_one(tmp_path: Path, stored: int) -> None:
    with open_run(tmp_path / "whole") as run:
        whole = rows(collect(run, ScriptedModel(reply), TASKS))
        pairs = run.pairs()
    with open_run(tmp_path / "cut") as run:
        add, count = run.add_attempt, 0

        def stop(attempt: Attempt) -> None:
            nonlocal count
            if count == stored:
                raise KeyboardInterrupt
            count += 1
            add(attempt)

        run.add_attempt = stop  # type: ignore[method-assign]
        if stored < len(whole):
            with pytest.raises(KeyboardInterrupt):
                collect(run, ScriptedModel(reply), TASKS)
    with open_run(tmp_path / "cut") as run:
        assert len(run.attempts()) == min(stored, len(whole))
        assert rows(collect(run, ScriptedModel(reply), TASKS)) == whole
        assert run.pairs() == pairs


def test_a_finished_collection_decodes_nothing(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        collect(run, ScriptedModel(reply), TASKS)
        model = ScriptedModel(reply)
        collect(run, model, TASKS)
    assert model.asked == []


def test_collecting_with_another_model_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        collect(run, ScriptedModel(reply), TASKS)
        with pytest.raises(ConfigError, match="another model"):
            collect(run, ScriptedModel(reply, name="other"), TASKS)


def test_collecting_on_other_tasks_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        collect(run, ScriptedModel(reply), TASKS)
        with pytest.raises(ConfigError, match="another set of training tasks"):
            collect(run, ScriptedModel(reply), TASKS[:2])


def test_a_tiny_real_model_runs_the_whole_collection(tiny: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", collect__max_tokens=8, collect__samples=2) as run:
        attempts = collect(run, tiny, TASKS)
    assert len([a for a in attempts if a.round == 0]) == 8
    # Of a fork, the token that it leaves its program with is counted too.
    assert all(a.n_completion_tokens <= 8 + (a.kind == "fork") for a in attempts)


WEAK = replace(
    TASKS[0],
    id="test/weak",
    public=Checks(),
    hidden=Checks.from_asserts(["assert square(0) < 100"]),
    reference="def square(x):\n    total = 0\n    for _ in range(abs(x)):\n        total += abs(x)\n    return total\n",
)


def test_a_task_whose_checks_let_wrong_programs_pass_is_left_out_before_it_is_drafted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_run(tmp_path / "run") as run:
        attempts = collect(run, ScriptedModel(reply), [WEAK, *TASKS])
        audit = run.facts().stored[Key.AUDIT]
    assert {a.task_id for a in attempts} == {task.id for task in TASKS}
    assert list(audit["left_out"]) == ["test/weak"]
    assert "1 of 5 tasks are left out" in caplog.text
    assert f"test/weak ({audit['left_out']['test/weak']})" in caplog.text


def test_with_a_weak_share_of_0_nothing_is_audited_and_every_task_kept(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", collect__weak_share=0) as run:
        attempts = collect(run, ScriptedModel(reply), [WEAK, *TASKS])
        assert "collect.audit" not in run.facts().stored
    assert "test/weak" in {a.task_id for a in attempts}


def test_tasks_without_a_reference_are_kept(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        attempts = collect(run, ScriptedModel(reply), [replace(WEAK, reference=""), TASKS[1]])
    assert {a.task_id for a in attempts} == {"test/weak", "test/double"}


def test_a_task_whose_reference_fails_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = replace(TASKS[0], reference="def square(x):\n    return x + x\n")
    with open_run(tmp_path / "run") as run:
        assert {a.task_id for a in collect(run, ScriptedModel(reply), [wrong, *TASKS[1:]])} == {t.id for t in TASKS[1:]}
    assert "test/square (the reference does not pass the hidden checks" in caplog.text


def no_audit(*_: Any, **__: Any) -> Any:
    raise AssertionError("audited")


def test_tasks_are_audited_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[Task] = [WEAK, *TASKS]
    with open_run(tmp_path / "run") as run:
        first = collect(run, ScriptedModel(reply), tasks)
    monkeypatch.setattr("mlx_selfdebug.stages.collect.audit_tasks", no_audit)
    with open_run(tmp_path / "run") as run:
        assert rows(collect(run, ScriptedModel(reply), tasks)) == rows(first)


def test_a_run_that_drafted_without_an_audit_goes_on_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlx_selfdebug.stages.collect.audit_tasks", no_audit)
    with open_run(tmp_path / "run") as run:
        run.add_attempt(make_attempt(task_id="test/weak", seed=1))
        assert "test/weak" in {a.task_id for a in collect(run, ScriptedModel(reply), [WEAK, *TASKS])}


def test_where_every_task_is_weak_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with open_run(path) as run, pytest.raises(TaskError, match="every training task is left out") as caught:
        collect(run, ScriptedModel(reply), [WEAK])
    assert f"--config {path / 'config.toml'} --collect-weak-share 0" in str(caught.value.hint)
