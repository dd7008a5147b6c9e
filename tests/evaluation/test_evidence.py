"""Evidence comes out of the records as it was put in, whoever asks and whenever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, answer, arms_named
from mlx_selfdebug.evaluation.contrasts import Solved, contrasts, declared
from mlx_selfdebug.evaluation.evidence import ArmEvidence, Evidence, read_evidence
from mlx_selfdebug.evaluation.figures import figures_of
from mlx_selfdebug.evaluation.metrics import Share
from mlx_selfdebug.evaluation.played import Played, read_own_failures, remember_figures
from mlx_selfdebug.evaluation.statistics import holm, mcnemar
from mlx_selfdebug.progress import NullStage, Spent
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.evaluate import Player, StartingPoints
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.testing import ScriptedModel, make_task

from ..support.runs import ARMS, make_run
from ..support.values import small_config

EVERY_ARM = [FIRST, *ARMS.split(",")]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "run"
    make_run(path, tasks=30, others=("seed-2", "direct-only")).close()
    return path


@pytest.fixture(scope="module")
def evidence(path: Path) -> Evidence:
    with open_stored(path) as run:
        found = read_evidence(run)
    assert found
    return found


def test_base_and_adapter_come_first_then_the_others_each_with_every_arm(evidence: Evidence) -> None:
    assert evidence.models == ("base", "adapter", "direct-only", "seed-2")
    assert [arm.name for arm in evidence.arms] == [f"{m}/{arm}" for m in evidence.models for arm in EVERY_ARM]


def test_scores_transitions_and_curves_agree_with_each_other(evidence: Evidence) -> None:
    for arm in evidence.arms:
        solved, total = arm.score.problems
        moved = arm.transitions
        assert total == len(evidence.tasks) == moved.kept + moved.fixed + moved.broken + moved.unsolved
        assert solved == moved.kept + moved.fixed == arm.after[-1] == arm.curve[-1].solved
        assert sum(share.total for share in arm.by_size.values()) == total
        assert sum(share.count for share in arm.by_size.values()) == solved
        assert arm.interval.low <= solved / total <= arm.interval.high


def test_groups_of_errors_hold_the_tasks_whose_first_draft_failed(evidence: Evidence) -> None:
    first = {arm.model: arm for arm in evidence.arms if arm.arm == FIRST}
    for arm in evidence.arms:
        failed = sum(share.total for share in arm.by_error.values())
        assert failed == len(evidence.tasks) - first[arm.model].score.problems[0]


def test_regressions_are_right_before_and_wrong_after_and_told_once(evidence: Evidence) -> None:
    assert evidence.regressions
    assert all(one.before.passed and not one.after.passed for one in evidence.regressions)
    ids = [one.task_id for one in evidence.regressions]
    assert len(ids) == len(set(ids))


def test_contrasts_are_those_declared_with_exact_tests_corrected_together(path: Path, evidence: Evidence) -> None:
    with open_stored(path) as run:
        played = read_own_failures(run)
    assert played
    asked = [(q.left, q.right) for q in declared(evidence.models)]
    assert [(c.left, c.right) for c in evidence.contrasts] == [
        pair for pair in asked if all(name.partition("/")[2] in EVERY_ARM for name in pair)
    ]
    for contrast in evidence.contrasts:
        left, right = (solved(played, name) for name in (contrast.left, contrast.right))
        assert (contrast.won, contrast.lost) == (len(left - right), len(right - left))
        assert contrast.p == mcnemar(contrast.won, contrast.lost)
        assert contrast.interval.low <= contrast.gain <= contrast.interval.high
    together = [c for half in evidence.halves.values() for c in half.contrasts]
    assert {c.half for c in together} == {"own failures", "bugs"}
    assert [c.p_holm for c in together] == holm([c.p for c in together])


def solved(played: Played, name: str) -> set[str]:
    model, arm = name.split("/")
    made = played.models[model][arm]
    return {id_ for id_, attempts in made.items() if answer(attempts, played.tokens).passed}


def test_contrasts_of_arms_that_were_not_played_are_left_out() -> None:
    solved = {"base/facts": ["a"], "adapter/facts": ["a", "b"]}
    found = contrasts([Solved("own failures", solved, 3, ["base", "adapter"])])
    assert [(c.left, c.right, c.won, c.lost) for c in found] == [("adapter/facts", "base/facts", 1, 0)]


def test_the_primary_contrast_is_of_the_adapter_with_facts(evidence: Evidence) -> None:
    by_name = {arm.name: arm.score.problems[0] for arm in evidence.arms}
    assert evidence.primary
    assert evidence.primary.solved == by_name[f"adapter/{REPAIR}"]
    assert (evidence.primary.base[0], evidence.primary.adapter[0]) == (by_name["base/blind"], by_name["adapter/blind"])


def test_bugs_are_a_half_of_their_own_with_every_arm_that_follows_a_program(evidence: Evidence) -> None:
    bugs = evidence.bugs
    assert bugs
    assert [arm.name for arm in bugs.arms] == [f"{m}/{arm}" for m in evidence.models for arm in ARMS.split(",")]
    for arm in bugs.arms:
        assert arm.score.problems[1] == len(bugs.tasks) == sum(share.total for share in arm.by_operator.values())
        assert arm.score.problems[0] == sum(share.count for share in arm.by_operator.values()) == arm.transitions.fixed
        assert arm.transitions.kept == arm.transitions.broken == 0


def test_hard_problems_are_counted_apart_in_both_halves(evidence: Evidence) -> None:
    for half in evidence.halves.values():
        assert half.hard
        assert set(half.hard) < set(half.tasks)
        assert all(arm.hard and arm.hard.total == len(half.hard) for arm in half.arms)
        assert any(arm.hard.count for arm in half.arms if arm.hard)


def test_searching_is_judged_by_its_declared_contrast_with_drafting_afresh(evidence: Evidence) -> None:
    for half in evidence.halves.values():
        by_name = {arm.name: arm.score.problems[0] for arm in half.arms}
        assert [one.model for one in half.searching] == list(evidence.models)
        for one in half.searching:
            assert one.contrast in half.contrasts
            assert (one.contrast.left, one.contrast.right) == (f"{one.model}/edits+forks+blind", f"{one.model}/blind")
            assert (one.solved, one.blind) == (by_name[one.contrast.left], by_name[one.contrast.right])
            assert one.verdict == one.contrast.verdict


def test_a_run_of_before_there_were_bugs_has_one_half(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=6, bugs=0, hard=False) as run:
        found = read_evidence(run)
    assert found
    assert found.bugs is None
    assert found.hard is None
    assert {arm.hard for arm in found.arms} == {None}
    assert found.gate
    assert found.gate.n_bugs == 0


def test_a_run_whose_evaluation_is_not_finished_has_no_evidence(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=3) as run:
        run.add_stage_time("evaluate", 1.0, 1, done=False)
        assert read_evidence(run) is None


def test_a_new_run_has_no_evidence(run: Run) -> None:
    assert read_evidence(run) is None


TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]


def evidence_of(path: Path, reply: Callable[[str, int], str]) -> dict[str, ArmEvidence]:
    """By arm, what a model that says what it is told has to show for itself."""
    config = small_config(eval__tokens=400, eval__max_tokens=64, eval__arms="blind,code,facts")
    model: Any = ScriptedModel(reply)
    with Run(path, config) as run, TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner:
        remember_figures(run, Key.FIGURES, figures_of(TASKS, runner))
        for who in ("base", "adapter"):
            Player(run, model, runner, NullStage(), Spent()).play(
                who, StartingPoints(TASKS), arms_named(config.eval.arms)
            )
        run.add_stage_time("evaluate", 1.0, 1, done=True)
        found = read_evidence(run)
    assert found
    return {arm.arm: arm for arm in found.arms if arm.model == "base"}


def entry_of(prompt: str) -> str:
    return next(task.entry_point for task in TASKS if f"def {task.entry_point}" in prompt)


def wrong(name: str, by: int = 50) -> str:
    return f"def {name}(x):\n    return x - {by}\n"


def right(name: str) -> str:
    return next(task.reference for task in TASKS if task.entry_point == name)


def test_a_model_that_always_copies_copies_every_time_and_fixes_nothing(tmp_path: Path) -> None:
    found = evidence_of(tmp_path / "run", lambda prompt, _: wrong(entry_of(prompt)))
    for arm in (found["blind"], found["code"], found["facts"]):
        assert arm.copies.count == arm.copies.total > 0
        assert arm.edit_tokens is None
        assert (arm.transitions.fixed, arm.transitions.unsolved) == (0, 3)
        assert arm.by_error == {"wrong answer": Share(0, 3)}


def test_a_model_that_always_fixes_what_it_is_shown_never_copies_and_fixes_all_at_once(tmp_path: Path) -> None:
    def reply(prompt: str, _: int) -> str:
        name = entry_of(prompt)
        return right(name) if "was tested" in prompt else wrong(name)

    found = evidence_of(tmp_path / "run", reply)
    assert found["blind"].transitions.fixed == 0
    for arm in (found["code"], found["facts"]):
        assert arm.copies == Share(0, 3)
        assert arm.transitions.fixed == 3
        assert arm.after == (0, 3)
        assert arm.by_error == {"wrong answer": Share(3, 3)}


def test_a_model_that_fixes_at_random_is_solved_later_and_later(tmp_path: Path) -> None:
    def reply(prompt: str, seed: int) -> str:
        name = entry_of(prompt)
        return right(name) if "was tested" in prompt and seed % 2 else wrong(name, seed % 1000 + 100)

    found = evidence_of(tmp_path / "run", reply)
    assert found["blind"].transitions.fixed == 0
    facts = found["facts"]
    assert list(facts.after) == sorted(facts.after)
    assert facts.transitions.fixed == facts.after[-1] > 0
    assert facts.copies.count == 0
    solved = [point.solved for point in facts.curve]
    assert solved == sorted(solved)
