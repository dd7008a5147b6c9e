"""Describe a change of one function: its size, its diff, and whether it only special-cases what a failing test asks."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mlx_selfdebug.fixing.judging import Origin, Proposal
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import SourceFile, lines_of
from mlx_selfdebug.projects.suite_run import TestResult
from mlx_selfdebug.repair.edits.hints import TRIVIAL


@dataclass(frozen=True)
class Change:
    """A change of one function in one file, which makes failing tests pass and breaks no test that passed."""

    file: SourceFile
    """The file before the change."""
    function: str
    """The qualified name of the function that is changed, such as "Window.mean"."""
    text: str
    """The text of the whole file after the change."""
    by: Origin
    """How the new version of the function was made."""
    fixed: tuple[str, ...]
    """The ids of the tests that failed before the change and pass after it."""
    special_cases: bool = False
    """Whether the change adds a comparison with, or a return of, a value that a failing test holds (``special_cases``)."""

    @property
    def data(self) -> bytes:
        """The bytes of the file after the change."""
        return self.file.encoded(self.text)

    @property
    def n_lines(self) -> int:
        """The size of the change in lines.

        Each hunk counts with the lines that it removes or with those that it adds, whichever are more.
        """
        return sum(max(hunk.end - hunk.start, hunk.new_end - hunk.new_start) for hunk in self._hunks())

    def diff(self) -> str:
        """Return the change as a unified diff, with ``a/`` and ``b/`` before the path."""
        return unified_diff(self.file.lines, lines_of(self.text), self.file.name)

    def _hunks(self) -> list[_Hunk]:
        return _hunks_between(self.file.lines, lines_of(self.text))


class _Hunk(NamedTuple):
    """The lines ``start`` to ``end`` of an old text, which became the lines ``new_start`` to ``new_end`` of a new text.

    Lines count from 0, and the ends are exclusive.
    """

    start: int
    end: int
    new_start: int
    new_end: int


def _hunks_between(old: list[str], new: list[str]) -> list[_Hunk]:
    """Return the hunks in which two texts differ, in order."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [_Hunk(*lines) for tag, *lines in matcher.get_opcodes() if tag != "equal"]


def unified_diff(before: list[str], after: list[str], name: str) -> str:
    """Return a unified diff of two versions of a file, in the form that ``patch`` and ``git apply`` read.

    ``before`` and ``after`` are lines, each with its end.
    """
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    marked = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join(marked)


def without_hunk(proposal: Proposal) -> Iterator[Proposal]:
    """Yield smaller versions of a proposal, each with another of its hunks taken back; none if it has only one hunk."""
    function = proposal.function
    old, new = function.program.split("\n"), proposal.program.split("\n")
    hunks = _hunks_between(old, new)
    if len(hunks) < 2:
        return
    for hunk in hunks:
        program = "\n".join([*new[: hunk.new_start], *old[hunk.start : hunk.end], *new[hunk.new_end :]])
        if function.spliced(program) is not None:
            yield Proposal(function, program, proposal.by, proposal.likelihood)


def special_cases(before: str, after: str, tests: Iterable[TestResult]) -> bool:
    """Return whether a change adds a comparison with, or a return of, a value that a failing test holds.

    ``before`` and ``after`` are programs, and ``tests`` are the results of the failing tests. Values that any program may hold,
    such as 0 or True, do not count. Returns False if one of the programs does not parse.
    """
    old, new = parse(before), parse(after)
    if old is None or new is None:
        return False
    asked = {value for test in tests for value in _values_in(test)} - TRIVIAL - {""}
    added = Counter(map(ast.dump, _deciding_nodes(new))) - Counter(map(ast.dump, _deciding_nodes(old)))
    return any(
        ast.dump(node) in added and any(value in asked for value in _literals_in(node)) for node in _deciding_nodes(new)
    )


def _deciding_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes with which a program can special-case an input: its comparisons, and its returns of literal values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) or (
            isinstance(node, ast.Return) and node.value is not None and _is_literal(node.value)
        ):
            yield node


def _literals_in(node: ast.AST) -> Iterator[str]:
    """Yield the source of every literal value in a node, parts of larger literals included."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.expr) and _is_literal(inner):
            yield ast.unparse(inner)


def _is_literal(node: ast.AST) -> bool:
    """Return whether a node is a literal: a constant, a list of literals, a negative number or the like."""
    return all(
        isinstance(inner, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.UnaryOp | ast.USub | ast.Load)
        for inner in ast.walk(node)
    )


def _values_in(test: TestResult) -> set[str]:
    """Return the values that a failing test holds, as source: its parameters, and the literals of the assert that failed."""
    values = set(test.parameters.values())
    if test.facts:
        values |= {test.facts.left, test.facts.right}
        # The first line of the message shows the assert with its calls, and so the arguments of these calls.
        assertion = parse(test.facts.message.split("\n")[0].removeprefix("assert "))
        values |= set(_literals_in(assertion)) if assertion is not None else set()
    return values
