"""How far apart two numbers may be that count as equal, on the trusted side of a test run."""

from math import isclose

ROUNDING = 1e-13
"""The relative error of a long sum. A number may be wrong by that much however large it is."""
LARGEST_DIFFERENCE = 1e-3
"""The largest difference beyond rounding of two numbers that are equal, so that no cent and no whole unit ever passes unseen."""


def equal_numbers(a: float, b: float, relative: float) -> bool:
    """Return whether two numbers are equal: whole numbers exactly, others within ``relative`` of their size. NaN equals NaN."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if a != a or b != b:
        return a != a and b != b
    # What cancels out to 0 may leave a rest, while two tiny numbers are as different as two large ones.
    within = isclose(a, b, rel_tol=relative, abs_tol=1e-12 if a and b else 1e-9)
    return a == b or (within and (abs(a - b) < LARGEST_DIFFERENCE or isclose(a, b, rel_tol=ROUNDING)))
