"""Attempts are counted as they come, and each is read once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_selfdebug.reporting.live import attempts as module
from mlx_selfdebug.reporting.live.attempts import MAX_REPAIRS, AttemptLog, Counts
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.attempt import Attempt

from ...support.values import FAILED


def draft(sample: int, **more: Any) -> Attempt:
    return make_attempt(sample=sample, verdict=FAILED, **more)


def repair_of(failed: Attempt, **more: Any) -> Attempt:
    values = {"verdict": make_attempt().verdict, "public": make_attempt().verdict, "kind": "repair", **more}
    return replace(failed, round=failed.round + 1, parent=failed.id, **values)


@pytest.fixture(params=[0, 500], ids=["all rows are read", "rows are read by id"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AttemptLog:
    monkeypatch.setattr(module, "MAX_BY_ID", request.param)
    return AttemptLog()


def look(log: AttemptLog, run: Run, *new: Attempt) -> None:
    for attempt in new:
        run.add_attempt(attempt)
    run.flush()
    log.look(run)


def test_what_comes_is_added_to_what_was_there(run: Run, log: AttemptLog) -> None:
    look(log, run, draft(0), make_attempt(sample=1))
    assert log.totals.all == Counts(attempts=2, passed=1, n_tokens=18)
    look(log, run, repair_of(draft(0)))
    assert log.totals.all == Counts(attempts=3, passed=2, repairs=1, repaired=1, n_tokens=27)
    look(log, run)
    assert log.totals.all.attempts == 3


def test_the_newest_repairs_come_first_and_the_oldest_are_dropped(run: Run, log: AttemptLog) -> None:
    ids = []
    for sample in range(MAX_REPAIRS + 2):
        repair = repair_of(draft(sample))
        look(log, run, draft(sample), repair)
        ids.append(repair.id)
    assert list(log.newest_repairs) == ids[::-1][:MAX_REPAIRS]


def test_a_search_that_came_to_nothing_is_no_repair(run: Run, log: AttemptLog) -> None:
    look(log, run, draft(0), repair_of(draft(0), kind="edits", finish="exhausted", verdict=FAILED))
    assert log.totals.all.repairs == 0
    assert not log.newest_repairs


def test_programs_that_a_model_was_given_do_not_count(run: Run, log: AttemptLog) -> None:
    look(log, run, draft(0, kind="given", arm="bugs/given"))
    assert log.totals.all == Counts()


def test_the_arms_of_the_steps_of_one_training_count_as_one(run: Run, log: AttemptLog) -> None:
    look(log, run, draft(0, arm="held back/000012"), draft(0, arm="held back/000024"), draft(0, arm="base/facts"))
    assert {arm: counts.attempts for arm, counts in log.totals.by_arm.items()} == {"held back": 2, "base/facts": 1}


def test_attempts_that_were_deleted_no_longer_count(run: Run, log: AttemptLog) -> None:
    look(log, run, draft(0, arm="held back/000012"), draft(1))
    run.delete_attempts("held back/000012")
    look(log, run)
    assert log.totals.all.attempts == 1
