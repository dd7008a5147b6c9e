"""Contamination: which training tasks are test tasks, or nearly so. Pure functions over tasks; nothing is run.

Two measures, because each sees what the other cannot:

- **text**: runs of ``GRAM`` tokens in the statement's words and in the reference's code, the usual measure (Brown et al., "Language
  Models are Few-Shot Learners", 2020, appendix C). *Jaccard* is the share of both tasks' runs that both have, *containment* the
  share of the smaller task's that the other has too (Broder, "On the resemblance and containment of documents", 1997).
- **code**: subtrees of at least ``SUBTREE`` nodes of the references' syntax trees, as Jaccard (Baxter et al., "Clone Detection
  Using Abstract Syntax Trees", 1998). Names that the program itself gives are all one, docstrings and annotations do not count:
  renaming changes nothing, and moving a statement little.

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

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.values.task import Task

GRAM = 5
SUBTREE = 4
ABOVE = 0.5
"""Nearness from which a pair should be looked at by a person."""


@dataclass(frozen=True)
class Overlap:
    """Of one training task with one test task; shares from 0 to 1. ``code`` is 0 where a reference is missing or no Python."""

    train_id: str
    test_id: str
    jaccard: float
    containment: float
    code: float

    @property
    def nearness(self) -> float:
        return max(self.containment, self.code)


def nearest_pairs(train: Sequence[Task], test: Sequence[Task], *, above: float = ABOVE) -> list[Overlap]:
    """Pairs of a nearness of at least ``above``, the nearest first."""
    near = [pair for pair in _overlaps(train, test) if pair.nearness >= above]
    return sorted(near, key=lambda pair: (-pair.nearness, pair.train_id, pair.test_id))


def nearest_pair(train: Sequence[Task], test: Sequence[Task]) -> Overlap | None:
    """The nearest, however far; None if a set is empty."""
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
    """Things as small numbers: sets of them are compared in a tenth of the time."""

    def __missing__(self, key: Any) -> int:
        return self.setdefault(key, len(self))


def _text(task: Task, numbers: _Numbers) -> set[int]:
    words = re.findall(r"\w+", task.statement.lower())
    # White space is no token: two layouts of one program are the same text.
    tokens = [token for token in domain_of(task.domain).tokens(task.reference) if token.strip()]
    return {numbers[gram] for part in (words, tokens) for gram in _grams(part)}


def _grams(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1))


def _code(task: Task, numbers: _Numbers) -> set[int]:
    tree = parse(task.reference) if task.domain == "python" else None
    if tree is None:
        return set()
    found: set[int] = set()
    _Subtrees(numbers, _own_names(tree), found).visit(tree)
    return found


def _own_names(tree: ast.Module) -> set[str]:
    """What the program itself gives a name: functions, parameters, variables. Not what it imports or finds built in."""
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
    """Numbers each subtree from its leaves up: two have one number if and only if they are equal but for own names."""

    numbers: _Numbers
    own_names: set[str]
    found: set[int]

    def visit(self, node: ast.AST) -> tuple[int, int]:
        """The node's number and how many nodes it holds; numbers of the large enough go to ``found``."""
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
        # A module is its functions again.
        if size >= SUBTREE and not isinstance(node, ast.Module):
            self.found.add(number)
        return number, size


def _children(node: ast.AST, value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        return [value]
    docstring = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and value is node.body
    return [child for child in value if not (docstring and _is_text(child))]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
