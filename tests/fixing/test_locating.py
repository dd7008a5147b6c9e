"""Functions are ordered by how suspicious their lines are."""

from __future__ import annotations

from mlx_selfdebug.fixing.locating import suspects_of
from mlx_selfdebug.projects.source import SourceFile

TEXT = """def a(x):
    if x:
        return 1
    return 2


def b(x):
    return a(x)


def c(x):
    return 3
"""
FILE = SourceFile("m.py", TEXT, "utf-8")


def lines(*numbers: int) -> dict[str, frozenset[int]]:
    return {"m.py": frozenset(numbers)}


def found(
    failing: list[dict[str, frozenset[int]]], passing: list[dict[str, frozenset[int]]], frames=()
) -> list[tuple[str, float]]:
    return [(s.function.name, round(s.suspicion, 3)) for s in suspects_of([FILE], failing, passing, list(frames))]


def test_what_no_failing_test_runs_is_not_suspected() -> None:
    assert found([lines(1, 2, 3, 7, 8)], [lines(12)]) == [("b", 1.0), ("a", 1.0)]


def test_the_suspicion_of_a_line_is_ochiais_coefficient() -> None:
    # Line 8 is run by the failing test and three passing ones: 1 / sqrt(1 * 4). Line 3 is run by the failing test alone.
    assert found([lines(2, 3, 8)], [lines(2, 4, 8)] * 3) == [("a", 1.0), ("b", 0.5)]


def test_of_equal_functions_the_deepest_in_the_traceback_comes_first() -> None:
    trace = [("m.py", 8), ("m.py", 3)]
    assert [name for name, _ in found([lines(2, 3, 8)], [], [trace])] == ["a", "b"]


def test_a_function_that_raised_is_half_as_far_from_certainty_even_if_no_line_was_recorded() -> None:
    assert found([], [], [[("m.py", 12)]]) == [("c", 0.5)]
    assert found([lines(2, 3, 8)], [lines(2, 4, 8)] * 3, [[("m.py", 8)]]) == [("a", 1.0), ("b", 0.75)]


def test_a_line_of_def_which_runs_on_import_counts_for_nothing() -> None:
    assert found([lines(1, 7, 11)], []) == []


def test_the_shares_are_of_the_lines_of_the_program() -> None:
    (a, _) = suspects_of([FILE], [lines(2, 3), lines(2, 4, 8)], [], [])
    assert dict(a.shares) == {2: 1.0, 3: 0.5, 4: 0.5}
