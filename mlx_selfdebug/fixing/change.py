"""A change of one function in one file: its size, its diff, and whether it only special-cases what a test asks."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlx_selfdebug.fixing.judging import Proposal
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import SourceFile, lines_of
from mlx_selfdebug.projects.suite_run import TestResult
from mlx_selfdebug.repair.edits.hints import TRIVIAL


@dataclass(frozen=True)
class Change:
    """A change of one file that makes failing tests pass and breaks none that passed."""

    file: SourceFile
    function: str
    """The qualified name of the function that is changed."""
    text: str
    """The text of the whole file after the change."""
    by: str
    """How it was made: "edits", "line", "insertion", "fork", "repair" or "draft"."""
    fixed: tuple[str, ...]
    """The tests that failed before and pass now."""
    special_cases: bool = False
    """Whether the change only adds a condition on, or the answer to, what a failing test asks."""

    @property
    def data(self) -> bytes:
        """Return the bytes of the file after the change."""
        return self.file.encoded(self.text)

    @property
    def n_lines(self) -> int:
        """Return the number of lines that are removed or added, whichever are more in each place, together."""
        return sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in _hunks(self.file.lines, lines_of(self.text)))

    def diff(self) -> str:
        """Return the change as a unified diff, with ``a/`` and ``b/`` before the path."""
        return unified_diff(self.file.lines, lines_of(self.text), self.file.name)


def unified_diff(before: list[str], after: list[str], name: str) -> str:
    """Return a unified diff of two versions of a file, as ``patch`` and ``git apply`` read it."""
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    marked = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join(marked)


def without_hunk(proposal: Proposal) -> Iterator[Proposal]:
    """Yield versions of a proposal in which one of the stretches of lines that it changes is as it was."""
    function = proposal.function
    old, new = function.program.split("\n"), proposal.program.split("\n")
    hunks = _hunks(old, new)
    if len(hunks) < 2:
        return
    for _, i1, i2, j1, j2 in hunks:
        program = "\n".join([*new[:j1], *old[i1:i2], *new[j2:]])
        if function.spliced(program) is not None:
            yield Proposal(function, program, proposal.by, proposal.likelihood)


def _hunks(old: list[str], new: list[str]) -> list[tuple[str, int, int, int, int]]:
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [opcode for opcode in matcher.get_opcodes() if opcode[0] != "equal"]


def special_cases(before: str, after: str, tests: Iterable[TestResult]) -> bool:
    """Return whether a change adds a comparison with, or a return of, a value that a failing test holds.

    Values that any program may hold, such as 0 or True, do not count.
    """
    old, new = parse(before), parse(after)
    if old is None or new is None:
        return False
    values = _values(tests) - TRIVIAL - {""}
    added = Counter(map(ast.dump, _deciding(new))) - Counter(map(ast.dump, _deciding(old)))
    return any(ast.dump(node) in added and any(text in values for text in _literals(node)) for node in _deciding(new))


def _deciding(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the comparisons of a program, and the literal values that it returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) or (
            isinstance(node, ast.Return) and node.value is not None and _is_literal(node.value)
        ):
            yield node


def _is_literal(node: ast.AST) -> bool:
    return all(
        isinstance(inner, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.UnaryOp | ast.USub | ast.Load)
        for inner in ast.walk(node)
    )


def _literals(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.expr) and _is_literal(inner):
            yield ast.unparse(inner)


def _values(tests: Iterable[TestResult]) -> set[str]:
    values: set[str] = set()
    for test in tests:
        facts = test.facts
        values |= set(test.parameters.values())
        if facts:
            values |= {facts.left, facts.right}
            values |= _values_of(facts.message)
    return values


def _values_of(message: str) -> set[str]:
    """Return the literal values that the message of an assert holds, such as the arguments of a call."""
    text = message.split("\n")[0].removeprefix("assert ")
    tree = parse(text)
    return set(_literals(tree)) if tree is not None else set()
