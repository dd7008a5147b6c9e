"""Detect contamination: training tasks that are test tasks, or nearly so. No program is run for this.

There are two measures, because each sees what the other cannot:

- **text** compares n-grams of ``GRAM`` tokens in the statement's words and in the reference's code, which is the usual measure
  (Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C). *Jaccard* is the share of all n-grams that both tasks
  have. *Containment* is the share of the smaller task's n-grams that the other task has too (Broder, "On the resemblance and
  containment of documents", 1997).
- **code** is the Jaccard share of the subtrees of at least ``MIN_SUBTREE`` nodes in the references' syntax trees (Baxter et al.,
  "Clone Detection Using Abstract Syntax Trees", 1998). All names that the program itself defines count as the same name, and
  docstrings and annotations are left out. So renaming changes nothing, and moving a statement changes little.

>>> from mlx_selfdebug.tasks import load_tasks
>>> nearest_pairs(load_tasks("starter"), load_tasks("humaneval"), above=0.9)
[]
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.auditing.mutants import MUTABLE
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.values.task import Task

GRAM = 5
"""The number of tokens in an n-gram."""
MIN_SUBTREE = 4
"""The smallest number of nodes of a subtree that is compared."""
ABOVE = 0.5
"""The nearness from which on a person should look at a pair."""

_LEFT_OUT = {"annotation", "returns", "ctx", "type_comment", "kind", "type_ignores", "decorator_list"}
"""Fields of syntax nodes that are not compared."""
_NAMED = (ast.Name, ast.arg, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Global, ast.Nonlocal)
"""Nodes whose strings are names that the program may define itself, unlike the names of attributes and imports."""


@dataclass(frozen=True)
class Overlap:
    """The overlap of one training task with one test task, as shares from 0 to 1."""

    train_id: str
    test_id: str
    jaccard: float
    """The number of n-grams that both tasks have, as a share of all n-grams of the two."""
    containment: float
    """The number of n-grams that both tasks have, as a share of the n-grams of the task with fewer of them."""
    code: float
    """The number of subtrees that both references have, as a share of all subtrees of the two.

    It is 0 if a reference is missing or is not Python.
    """

    @property
    def nearness(self) -> float:
        """The larger of ``containment`` and ``code``, since either of them is reason enough to look at a pair."""
        return max(self.containment, self.code)


def nearest_pairs(train: Sequence[Task], test: Sequence[Task], *, above: float = ABOVE) -> list[Overlap]:
    """Return the pairs whose nearness is at least ``above``, the nearest first."""
    near = [pair for pair in _overlaps(train, test) if pair.nearness >= above]
    return sorted(near, key=lambda pair: (-pair.nearness, pair.train_id, pair.test_id))


def nearest_pair(train: Sequence[Task], test: Sequence[Task]) -> Overlap | None:
    """Return the nearest pair, however far apart its tasks are, or None if a set is empty."""
    return max(_overlaps(train, test), key=lambda pair: pair.nearness, default=None)


def _overlaps(train: Sequence[Task], test: Sequence[Task]) -> Iterator[Overlap]:
    """Yield the overlap of every training task with every test task."""
    numbers = _Numbers()
    test_sets = [(task.id, _grams_of(task, numbers), _subtrees_of(task, numbers)) for task in test]
    for task in train:
        grams, subtrees = _grams_of(task, numbers), _subtrees_of(task, numbers)
        for test_id, test_grams, test_subtrees in test_sets:
            n_grams = len(grams & test_grams)
            n_subtrees = len(subtrees & test_subtrees)
            yield Overlap(
                train_id=task.id,
                test_id=test_id,
                jaccard=_share(n_grams, len(grams) + len(test_grams) - n_grams),
                containment=_share(n_grams, min(len(grams), len(test_grams))),
                code=_share(n_subtrees, len(subtrees) + len(test_subtrees) - n_subtrees),
            )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


class _Numbers(dict[tuple[str | int, ...], int]):
    """Gives each n-gram and each subtree a number. Sets of numbers are compared in a tenth of the time that tuples take."""

    def __missing__(self, key: tuple[str | int, ...]) -> int:
        return self.setdefault(key, len(self))


def _grams_of(task: Task, numbers: _Numbers) -> set[int]:
    """Return the numbers of the n-grams in the statement and in the reference of ``task``."""
    words = re.findall(r"\w+", task.statement.lower())
    # White space is left out, so that two layouts of one program are the same text.
    tokens = [token for token in domain_of(task.domain).tokens(task.reference) if token.strip()]
    return {numbers[tuple(part[i : i + GRAM])] for part in (words, tokens) for i in range(len(part) - GRAM + 1)}


def _subtrees_of(task: Task, numbers: _Numbers) -> set[int]:
    """Return the numbers of the subtrees of the reference of ``task``; none if it is not Python."""
    tree = parse(task.reference) if task.domain in MUTABLE else None
    if tree is None:
        return set()
    subtrees = _Subtrees(numbers, _own_names(tree))
    subtrees.visit(tree)
    return subtrees.subtrees


def _own_names(tree: ast.Module) -> set[str]:
    """Return the names that the program itself defines: functions, classes, parameters and variables, but no imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


class _Subtrees:
    """Numbers the subtrees of a program from the leaves up.

    Two subtrees have the same number if and only if they differ in nothing but names that their programs define themselves
    (``own_names``).
    """

    def __init__(self, numbers: _Numbers, own_names: set[str]) -> None:
        self._numbers, self._own_names = numbers, own_names
        self.subtrees: set[int] = set()
        """The numbers of all visited subtrees of at least ``MIN_SUBTREE`` nodes."""

    def visit(self, node: ast.AST) -> tuple[int, int]:
        """Number the subtree of ``node`` and all subtrees in it. Return its number, and how many nodes it has."""
        parts: list[str | int] = [type(node).__name__]
        size = 1
        for field, value in ast.iter_fields(node):
            if field in _LEFT_OUT:
                continue
            parts.append(field)
            for child in _children(node, value):
                if isinstance(child, ast.AST):
                    child_number, child_size = self.visit(child)
                    parts.append(child_number)
                    size += child_size
                else:
                    is_own = isinstance(node, _NAMED) and child in self._own_names
                    parts.append("own" if is_own else repr(child))
        number = self._numbers[tuple(parts)]
        # The module is left out: its parts are counted by themselves.
        if size >= MIN_SUBTREE and not isinstance(node, ast.Module):
            self.subtrees.add(number)
        return number, size


def _children(node: ast.AST, value: Any) -> list[Any]:
    """Return the values of one field of ``node``: nodes or plain values. Docstrings are left out."""
    if not isinstance(value, list):
        return [value]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and value is node.body:
        return [child for child in value if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))]
    return value
