"""Decide whether two numbers are near enough to count as equal. This becomes part of the checks of a test run."""

from math import isclose

ROUNDING = 1e-13
"""The relative error of a long sum of floats, which is allowed however large the numbers are."""
LARGEST_DIFFERENCE = 1e-3
"""Two numbers that differ by this much or more are not equal, rounding apart. No cent and no whole unit can pass unseen."""


def equal_numbers(a: float, b: float, relative: float) -> bool:
    """Return whether two numbers count as equal: ints if they are the same, others within ``relative`` of their size.

    NaN equals NaN.
    """
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if a != a or b != b:
        return a != a and b != b
    # A difference that should be 0 may leave a tiny number, so a comparison with 0 is more lenient than one of two tiny numbers.
    within = isclose(a, b, rel_tol=relative, abs_tol=1e-12 if a and b else 1e-9)
    return a == b or (within and (abs(a - b) < LARGEST_DIFFERENCE or isclose(a, b, rel_tol=ROUNDING)))
