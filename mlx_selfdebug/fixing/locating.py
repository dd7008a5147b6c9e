"""Find the functions in which a bug may be: those that failing tests run, the most suspicious first.

A line is suspicious if failing tests run it and passing tests do not. This is measured by Ochiai's coefficient (Abreu, Zoeteweij
and van Gemund 2006):

    suspicion(line) = failed(line) / sqrt(failed * (failed(line) + passed(line)))

Here failed(line) and passed(line) are the numbers of failing and passing tests that run the line, and failed is the number of all
failing tests. A function is as suspicious as its most suspicious line. If a failing test raised its exception in the function, the
distance of its suspicion from 1 is halved. Equally suspicious functions are ordered by their place in a traceback, with the
deepest first, and then by length, with the shortest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.projects.source import Function, SourceFile, functions_of
from mlx_selfdebug.projects.suite_run import SuiteRun

Lines = Mapping[str, frozenset[int]]
"""The lines that one test runs, by the path of the file within the project."""
Traceback = Sequence[tuple[str, int]]
"""The frames of a failed test within the project, outermost first: the path of a file and a line in it, from 1."""


@dataclass(frozen=True)
class Suspect:
    """A function in which the bug may be."""

    function: Function
    suspicion: float
    """From 0, if no failing test runs the function, to 1, if all failing tests run it and no passing test does."""
    depth: int = 0
    """The position of the function in the traceback of a failing test, counted from the outermost frame; 0 if it is in none."""
    shares: Mapping[int, float] = field(default_factory=dict)
    """For each line of the function's program, from 1, the share of the failing tests that run it. Other lines are left out."""


def suspects_of(
    files: Iterable[SourceFile],
    failing: Sequence[Lines],
    passing: Sequence[Lines],
    tracebacks: Sequence[Traceback],
) -> list[Suspect]:
    """Return the functions of ``files`` that failing tests run or raise in, the most suspicious first.

    ``failing`` and ``passing`` hold the lines that each test ran. ``tracebacks`` hold the lines in the tracebacks of failing tests.
    """
    names = {name for test in failing for name in test}
    failed = {name: Counter(line for test in failing for line in test.get(name, ())) for name in names}
    passed = {name: Counter(line for test in passing for line in test.get(name, ())) for name in names}
    involved = names | {name for traceback in tracebacks for name, _ in traceback}
    suspects = []
    for file in files:
        if file.name not in involved:
            continue
        n_failed, n_passed = failed.get(file.name, Counter()), passed.get(file.name, Counter())
        for function in functions_of(file):
            suspect = _suspect(function, n_failed, n_passed, len(failing), tracebacks)
            if suspect:
                suspects.append(suspect)
    # Rounding makes functions equal whose suspicions differ by an error of floating-point arithmetic alone.
    return sorted(suspects, key=lambda s: (-round(s.suspicion, 6), -s.depth, len(s.function.lines), s.function.id))


def _suspect(
    function: Function,
    failed: Mapping[int, int],
    passed: Mapping[int, int],
    n_failing: int,
    tracebacks: Sequence[Traceback],
) -> Suspect | None:
    """Return a function as a suspect, or None if no failing test runs its body or has it in its traceback.

    ``failed`` and ``passed`` are the numbers of failing and passing tests that run each line of the function's file.
    """
    depth = _depth(function, tracebacks)
    executed = {line: place for line, place in function.body_lines.items() if failed.get(line)}
    if not depth and not executed:
        return None
    suspicion = max(
        (failed[line] / (n_failing * (failed[line] + passed.get(line, 0))) ** 0.5 for line in executed), default=0.0
    )
    if any(traceback and _contains(function, *traceback[-1]) for traceback in tracebacks):
        suspicion = (1 + suspicion) / 2
    shares = {place: failed[line] / n_failing for line, place in executed.items()}
    return Suspect(function, suspicion, depth, shares)


def _depth(function: Function, tracebacks: Sequence[Traceback]) -> int:
    """Return the deepest position of a function in any traceback, from 1, or 0 if it is in none."""
    depths = [
        depth
        for traceback in tracebacks
        for depth, (name, line) in enumerate(traceback, 1)
        if _contains(function, name, line)
    ]
    return max(depths, default=0)


def _contains(function: Function, name: str, line: int) -> bool:
    """Return whether a line of the file ``name`` belongs to a function."""
    return name == function.file.name and function.first <= line <= function.last


def lines_of_tests(run: SuiteRun, ids: Iterable[str], names: Mapping[str, str]) -> list[Lines]:
    """Return the lines that each of the tests ``ids`` ran in a traced run. Tests without recorded lines are left out.

    ``names`` maps each traced path, as the tests see it, to the path within the project.
    """
    return [
        {names[path]: lines for path, lines in run.lines.get(id_, {}).items() if path in names}
        for id_ in ids
        if run.lines.get(id_)
    ]
