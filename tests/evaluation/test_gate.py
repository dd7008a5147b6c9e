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


def test_one_task_is_written_in_the_singular() -> None:
    assert "On 1 training task that was held back, base and" in str(Gate((0, 0), (0, 1), 1))
    assert "On 2 training tasks that were held back, base and" in str(Gate((0, 0), (0, 1), 2))
