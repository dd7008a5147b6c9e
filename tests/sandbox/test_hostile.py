"""Every program of the corpus gets its one right outcome, and leaves the runner able to judge the next."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from mlx_selfdebug.sandbox import TestRunner, Verdict
from mlx_selfdebug.values.verdict import SUSPICIOUS
from tests.sandbox.hostile import ALL, FORGING, HANDLES, Hostile


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Future[Verdict]]]:
    runners = {limits: TestRunner(workers=3, limits=limits) for limits in {hostile.limits for hostile in ALL}}
    try:
        yield {h.name: runners[h.limits].submit(h.source, h.checks, h.entry_point) for h in ALL}
    finally:
        for runner in runners.values():
            runner.close()


@pytest.mark.parametrize("hostile", ALL, ids=lambda hostile: hostile.name)
def test_outcome_is_the_right_one(hostile: Hostile, verdicts: dict[str, Future[Verdict]]) -> None:
    verdict = verdicts[hostile.name].result()
    assert verdict.outcome in hostile.outcomes, verdict
    if not verdict.passed:
        assert verdict.n_passed < verdict.n_checks, verdict
        assert verdict.n_checks == 3 or hostile.asserts or hostile.stdin, verdict
        assert verdict.failures, verdict


def test_no_two_programs_have_the_same_name() -> None:
    assert len({hostile.name for hostile in ALL}) == len(ALL)


def test_no_forger_passes() -> None:
    assert not any("passed" in hostile.outcomes for hostile in [*FORGING, *HANDLES])


def test_what_no_honest_answer_does_is_marked_suspicious(verdicts: dict[str, Future[Verdict]]) -> None:
    names = ["os._exit in the call", "forged replies at import", "sys.exit at import"]
    assert all(verdicts[name].result().outcome in SUSPICIOUS for name in names)
