"""Find the functions in which a bug may be: those that failing tests run, the most suspicious first.

A line is suspicious if failing tests run it and passing tests do not: Ochiai's coefficient (Abreu, Zoeteweij and van Gemund 2006),
failed(line) / sqrt(failed * (failed(line) + passed(line))). A function is as suspicious as its most suspicious line. One in which
a failing test raised its exception is half as far from certainty as its lines alone would put it. Of equal functions, one that
stands deeper in the traceback of a failing test comes first, then the shorter one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.projects.source import Function, SourceFile, functions_of
from mlx_selfdebug.projects.suite_run import SuiteRun

Lines = Mapping[str, frozenset[int]]
"""The lines that a test runs, by the name of the file within the project."""


@dataclass(frozen=True)
class Suspect:
    """A function in which the bug may be."""

    function: Function
    suspicion: float
    """From 0, where no failing test runs it, to 1, where all failing tests do and no other."""
    depth: int = 0
    """How deep in the traceback of a failing test it stands, from 1; 0 if it stands in none."""
    shares: Mapping[int, float] = field(default_factory=dict)
    """For each line of the function's program, the share of the failing tests that run it."""


def suspects_of(
    files: Iterable[SourceFile],
    failing: Sequence[Lines],
    passing: Sequence[Lines],
    frames: Sequence[Sequence[tuple[str, int]]],
) -> list[Suspect]:
    """Return the functions that failing tests run, the most suspicious first.

    ``failing`` and ``passing`` are the lines that each test runs. ``frames`` are the tracebacks of the failing tests, as files and
    lines, outermost first.
    """
    counts = {name: Counter(line for test in failing for line in test.get(name, ())) for name in _names(failing)}
    passed = {name: Counter(line for test in passing for line in test.get(name, ())) for name in counts}
    suspects = [
        suspect
        for file in files
        if file.name in counts or any(name == file.name for trace in frames for name, _ in trace)
        for function in functions_of(file)
        if (suspect := _suspect(function, counts.get(file.name, {}), passed.get(file.name, {}), len(failing), frames))
    ]
    return sorted(suspects, key=lambda s: (-round(s.suspicion, 6), -s.depth, len(s.function.lines), s.function.id))


def _names(tests: Sequence[Lines]) -> set[str]:
    return {name for test in tests for name in test}


def _suspect(
    function: Function,
    failed: Mapping[int, int],
    passed: Mapping[int, int],
    n_failing: int,
    frames: Sequence[Sequence[tuple[str, int]]],
) -> Suspect | None:
    own = function.body_lines
    if not _depth(function, frames) and not any(failed.get(line) for line in own):
        return None
    raised = any(trace and _holds(function, *trace[-1]) for trace in frames)
    scores = [failed[n] / (n_failing * (failed[n] + passed.get(n, 0))) ** 0.5 for n in own if failed.get(n)]
    shares = {place: failed[line] / n_failing for line, place in own.items() if failed.get(line)}
    suspicion = max(scores, default=0.0)
    return Suspect(function, (1 + suspicion) / 2 if raised else suspicion, _depth(function, frames), shares)


def _depth(function: Function, frames: Sequence[Sequence[tuple[str, int]]]) -> int:
    return max(
        (depth for trace in frames for depth, (name, line) in enumerate(trace, 1) if _holds(function, name, line)),
        default=0,
    )


def _holds(function: Function, name: str, line: int) -> bool:
    return name == function.file.name and function.first <= line <= function.last


def failing_lines(run: SuiteRun, ids: Iterable[str], names: Mapping[str, str]) -> list[Lines]:
    """Return what the tests ``ids`` of a traced run ran. ``names`` gives the name within the project of each traced path."""
    return [
        {names[path]: lines for path, lines in run.lines.get(id_, {}).items() if path in names}
        for id_ in ids
        if run.lines.get(id_)
    ]
