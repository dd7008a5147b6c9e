"""What checks may use without an import: ``approx`` where a value is close to the expected one but of another kind."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from mlx_selfdebug.sandbox.grading.tools import Approx


@pytest.mark.parametrize(
    ("got", "expected"),
    [(1, True), (0.0, False), ([1], [True]), ("1", 1), ({1.0}, (1.0,)), ("a", ["a"]), (Decimal("0.1"), 0.1), (10**400, 0.5), (Fraction(10**400), 0.5), ({"a": 1}, {"b": 1}), (1.0001, 1), ([1, 2], [1]), (None, 0)],
)  # fmt: skip
def test_another_kind_of_value_is_not_close(got: object, expected: object) -> None:
    assert got != Approx(expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (True, True),
        (0.1 + 0.2, 0.3),
        ([1, 2.0], [1.0, 2]),
        ([[0.3], True], [[0.1 + 0.2], True]),
        ([1.0, 2.0], np.array([1, 2])),
        ([0.1 + 0.2], (0.3,)),
        ((0.1 + 0.2,), [0.3]),
        (Fraction(1, 3), 0.333333333),
        (0.333333333, Fraction(1, 3)),
        (Decimal("0.1"), Decimal("0.10")),
    ],
)
def test_the_same_value_but_for_rounding_is_close(got: object, expected: object) -> None:
    assert got == Approx(expected)
