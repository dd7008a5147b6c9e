"""Several verdicts as one: counts are added, the gravest outcome decides."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox import Failure, Verdict
from mlx_selfdebug.sandbox.grading.merging import MAX_FAILURES, merge

PASSED = Verdict("passed", (), 1, 1, 0.5, 0.25, 100)


def of(outcome: str, name: str = "x") -> Verdict:
    return Verdict(outcome, (Failure(name),), 0, 1, 0.5, 0.25, 200)  # type: ignore[arg-type]


def test_counts_and_times_are_added_and_the_peak_is_the_highest() -> None:
    merged = merge([PASSED, of("failed"), PASSED])
    assert (merged.n_passed, merged.n_checks, merged.wall_s, merged.cpu_s, merged.peak_bytes) == (2, 3, 1.5, 0.75, 200)


@pytest.mark.parametrize(
    ("outcomes", "merged"),
    [
        ("passed passed", "passed"),
        ("passed failed raised", "failed"),
        ("raised failed", "raised"),
        ("failed timeout_wall", "timeout_wall"),
        ("memory crashed", "memory"),
        ("timeout_cpu early_exit", "early_exit"),
        ("early_exit infrastructure failed", "infrastructure"),
    ],
)
def test_the_gravest_outcome_decides(outcomes: str, merged: str) -> None:
    assert merge([PASSED if name == "passed" else of(name) for name in outcomes.split()]).outcome == merged


def test_the_failures_of_the_deciding_case_come_first_and_few_are_kept() -> None:
    merged = merge([of("failed", "a")] * 20 + [of("memory", "z")])
    assert merged.failures[0].check == "z"
    assert len(merged.failures) == MAX_FAILURES


def test_a_case_that_could_not_be_judged_leaves_only_its_own_record() -> None:
    assert [failure.check for failure in merge([of("failed", "a"), of("infrastructure", "b")]).failures] == ["b"]


def test_one_verdict_is_itself() -> None:
    assert merge([of("failed")]) == of("failed")
    with pytest.raises(ValueError, match="no verdicts"):
        merge([])
