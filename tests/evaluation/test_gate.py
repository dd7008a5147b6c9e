"""The gate recommends the adapter only if both of its conditions hold, and says so in sentences that read well."""

from __future__ import annotations

import pytest

from mlx_selfdebug.evaluation.gate import Gate


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate((3, 3), (4, 5), 9), True),
        (Gate((3, 2), (4, 9), 9), False),
        (Gate((3, 3), (4, 4), 9), False),
        (Gate((3, 3), (4, 4), 9, (1, 2), 5), True),
        (Gate((3, 3), (4, 5), 9, (2, 1), 5), False),
    ],
)
def test_first_drafts_must_not_be_fewer_and_the_total_must_be_higher(gate: Gate, passed: bool) -> None:
    assert gate.passed == passed
    assert gate.to_dict()["passed"] == passed


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (Gate((4, 2), (4, 3), 5, (1, 3), 5), "because it solves fewer tasks with its first drafts."),
        (Gate((3, 3), (4, 4), 9), "because it does not solve more tasks after repair."),
        (Gate((3, 3), (4, 5), 9, (2, 1), 5), "because it does not solve more after repair, tasks and bugs together."),
        (Gate((3, 2), (4, 4), 9), "first drafts and it does not solve more tasks after repair."),
    ],
)
def test_the_condition_that_fails_is_named(gate: Gate, reason: str) -> None:
    assert str(gate).endswith(reason)


def test_an_adapter_that_passes_needs_no_reason() -> None:
    assert "not recommended" not in str(Gate((3, 3), (4, 5), 9))


def test_one_task_is_written_in_the_singular() -> None:
    assert "On 1 training task that was held back, base and" in str(Gate((0, 0), (0, 1), 1))
    assert "On 2 training tasks that were held back, base and" in str(Gate((0, 0), (0, 1), 2))
