"""Detect contamination: training tasks that are test tasks, or nearly so. These are pure functions over tasks; nothing is run.

There are two measures, because each sees what the other cannot:

- **text** compares n-grams of ``GRAM`` tokens in the statement's words and in the reference's code, which is the usual measure
  (Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C). *Jaccard* is the share of all n-grams that both tasks
  have; *containment* is the share of the smaller task's n-grams that the other has too (Broder, "On the resemblance and containment
  of documents", 1997).
- **code** compares the references' syntax trees by their subtrees of at least ``MIN_SUBTREE`` nodes, as Jaccard (Baxter et al.,
  "Clone Detection Using Abstract Syntax Trees", 1998). All names that the program itself defines count as the same name, and
  docstrings and annotations are left out. So renaming changes nothing, and moving a statement changes little.

>>> from mlx_selfdebug.tasks import load_tasks
>>> nearest_pairs(load_tasks("starter"), load_tasks("humaneval"), above=0.9)
[]
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
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


@dataclass(frozen=True)
class Overlap:
    """The overlap of one training task with one test task, as shares from 0 to 1."""

    train_id: str
    test_id: str
    jaccard: float
    """The share of both tasks' n-grams that both have."""
    containment: float
    """The share of the smaller task's n-grams that the other has too."""
    code: float
    """The share of both references' subtrees that both have; 0 where a reference is missing or is no Python."""

    @property
    def nearness(self) -> float:
        """The larger of ``containment`` and ``code``: either of them is reason enough to look at a pair."""
        return max(self.containment, self.code)


def nearest_pairs(train: Sequence[Task], test: Sequence[Task], *, above: float = ABOVE) -> list[Overlap]:
    """Return the pairs whose nearness is at least ``above``, the nearest first."""
    near = [pair for pair in _overlaps(train, test) if pair.nearness >= above]
    return sorted(near, key=lambda pair: (-pair.nearness, pair.train_id, pair.test_id))


def nearest_pair(train: Sequence[Task], test: Sequence[Task]) -> Overlap | None:
    """Return the nearest pair, however far apart it is; None if a set is empty."""
    return max(_overlaps(train, test), key=lambda pair: pair.nearness, default=None)


def _overlaps(train: Sequence[Task], test: Sequence[Task]) -> Iterator[Overlap]:
    numbers = _Numbers()
    shown = [(task.id, _text(task, numbers), _code(task, numbers)) for task in test]
    for task in train:
        text, code = _text(task, numbers), _code(task, numbers)
        for test_id, other_text, other_code in shown:
            common = len(text & other_text)
            yield Overlap(
                train_id=task.id,
                test_id=test_id,
                jaccard=_share(common, len(text) + len(other_text) - common),
                containment=_share(common, min(len(text), len(other_text))),
                code=_jaccard(code, other_code),
            )


def _jaccard(a: set[int], b: set[int]) -> float:
    common = len(a & b)
    return _share(common, len(a) + len(b) - common)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


class _Numbers(dict[Any, int]):
    """Numbers things in the order in which they are first asked for; sets of numbers are compared in a tenth of the time."""

    def __missing__(self, key: Any) -> int:
        return self.setdefault(key, len(self))


def _text(task: Task, numbers: _Numbers) -> set[int]:
    words = re.findall(r"\w+", task.statement.lower())
    # White space is left out, so that two layouts of one program are the same text.
    tokens = [token for token in domain_of(task.domain).tokens(task.reference) if token.strip()]
    return {numbers[gram] for part in (words, tokens) for gram in _grams(part)}


def _grams(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1))


def _code(task: Task, numbers: _Numbers) -> set[int]:
    tree = parse(task.reference) if task.domain in MUTABLE else None
    if tree is None:
        return set()
    subtrees: set[int] = set()
    _Subtrees(numbers, _own_names(tree), subtrees).visit(tree)
    return subtrees


def _own_names(tree: ast.Module) -> set[str]:
    """Return the names that the program itself defines: functions, classes, parameters and variables, but no imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


_LEFT_OUT = {"annotation", "returns", "ctx", "type_comment", "kind", "type_ignores", "decorator_list"}
_NAMED = (ast.Name, ast.arg, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Global, ast.Nonlocal)


@dataclass(frozen=True)
class _Subtrees:
    """Numbers subtrees from the leaves up. Two have the same number if and only if they differ in nothing but own names."""

    numbers: _Numbers
    own_names: set[str]
    found: set[int]

    def visit(self, node: ast.AST) -> tuple[int, int]:
        """Return the node's number and how many nodes it holds, and add the numbers of large enough subtrees to ``found``."""
        parts: list[Any] = [type(node).__name__]
        size = 1
        for field, value in ast.iter_fields(node):
            if field in _LEFT_OUT:
                continue
            parts.append(field)
            for child in _children(node, value):
                if isinstance(child, ast.AST):
                    number, n_nodes = self.visit(child)
                    parts.append(number)
                    size += n_nodes
                else:
                    own = isinstance(node, _NAMED) and child in self.own_names
                    parts.append("own" if own else repr(child))
        number = self.numbers[tuple(parts)]
        # The module is left out: its parts are counted by themselves.
        if size >= MIN_SUBTREE and not isinstance(node, ast.Module):
            self.found.add(number)
        return number, size


def _children(node: ast.AST, value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        return [value]
    docstring = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and value is node.body
    return [child for child in value if not (docstring and _is_text(child))]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
