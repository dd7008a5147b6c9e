"""Evidence comes out of the records as it was put in, whoever asks and whenever."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, answer
from mlx_selfdebug.evaluation.contrasts import contrasts, declared
from mlx_selfdebug.evaluation.evidence import Evidence, read_evidence
from mlx_selfdebug.evaluation.played import read_played
from mlx_selfdebug.evaluation.statistics import holm, mcnemar
from mlx_selfdebug.store import Run, open_stored

from ..reporting.runs import ARMS, make_run

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
        played = read_played(run)
    assert played
    assert [(c.left, c.right) for c in evidence.contrasts] == [(q.left, q.right) for q in declared(evidence.models)]
    for contrast in evidence.contrasts:
        left, right = (solved(played, name) for name in (contrast.left, contrast.right))
        assert (contrast.won, contrast.lost) == (len(left - right), len(right - left))
        assert contrast.p == mcnemar(contrast.won, contrast.lost)
        assert contrast.interval.low <= contrast.gain <= contrast.interval.high
    assert [c.p_holm for c in evidence.contrasts] == holm([c.p for c in evidence.contrasts])


def solved(played: object, name: str) -> set[str]:
    model, arm = name.split("/")
    made = played.models[model][arm]  # type: ignore[attr-defined]
    return {id_ for id_, attempts in made.items() if answer(attempts, played.tokens).passed}  # type: ignore[attr-defined]


def test_contrasts_of_arms_that_were_not_played_are_left_out() -> None:
    found = contrasts({"base/facts": ["a"], "adapter/facts": ["a", "b"]}, ["a", "b", "c"], ["base", "adapter"])
    assert [(c.left, c.right, c.won, c.lost) for c in found] == [("adapter/facts", "base/facts", 1, 0)]


def test_the_primary_contrast_is_of_the_adapter_with_facts(evidence: Evidence) -> None:
    by_name = {arm.name: arm.score.problems[0] for arm in evidence.arms}
    assert evidence.primary
    assert evidence.primary.solved == by_name[f"adapter/{REPAIR}"]
    assert (evidence.primary.base[0], evidence.primary.adapter[0]) == (by_name["base/blind"], by_name["adapter/blind"])


def test_a_run_whose_evaluation_is_not_finished_has_no_evidence(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=3) as run:
        run.add_stage_time("evaluate", 1.0, 1, done=False)
        assert read_evidence(run) is None


def test_a_new_run_has_no_evidence(run: Run) -> None:
    assert read_evidence(run) is None
