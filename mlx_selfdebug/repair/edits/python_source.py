"""Hold a Python program as text and as a tree at once.

A change of the tree can then be made in the text, and leaves the rest of the text as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.repair.edits.edit import Edit

_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.JoinedStr)


@dataclass(frozen=True)
class Place:
    """A node of the tree and its position under its parent."""

    node: ast.AST
    parent: ast.AST
    field: str
    """The field of ``parent`` that holds the node, or holds the list in which it stands."""


class PythonSource:
    """A Python program, ``code``, with its syntax tree. Offsets are in characters."""

    def __init__(self, code: str, tree: ast.Module) -> None:
        self.code = code
        self.tree = tree
        self._lines = code.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    @classmethod
    def parsed(cls, code: str) -> PythonSource | None:
        """Return ``code`` with its tree, or None if it does not parse."""
        tree = parse(code)
        return cls(code, tree) if tree is not None else None

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return where the text of ``node`` begins and ends."""
        return (
            self._offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self._offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.code[start:end]

    def replaced(self, node: ast.AST, text: str, operator: str) -> Edit:
        """Return the edit that puts ``text`` in the place of ``node``."""
        return Edit(*self.span(node), text, operator)

    def between(self, left: ast.AST, right: ast.AST, old: str, new: str, operator: str) -> Edit | None:
        """Return the edit that replaces ``old``, which stands between two nodes, by ``new``. Return None if it is not there."""
        start, end = self.span(left)[1], self.span(right)[0]
        at = self.code.find(old, start, end)
        return Edit(at, at + len(old), new, operator) if at >= 0 else None

    def lines_of(self, node: ast.stmt) -> tuple[int, int]:
        """Return where the first line of a statement begins and where its last line ends, including the newline."""
        last = node.end_lineno or node.lineno
        return self._starts[node.lineno - 1], min(self._starts[last], len(self.code))

    def indentation(self, node: ast.stmt) -> str:
        line = self._lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def begins_its_line(self, node: ast.stmt) -> bool:
        """Return whether only white space stands before ``node`` on its line, unlike in ``if x: return`` on one line."""
        return self.span(node)[0] == self._starts[node.lineno - 1] + len(self.indentation(node))

    def places(self) -> Iterator[Place]:
        """Yield every place that may be changed, in the order of the source.

        Left out are docstrings, annotations, decorators and type parameters, imports, ``global`` and ``nonlocal``, f-strings, and
        format specifications.
        """
        yield from _places(self.tree)

    @cached_property
    def blocks(self) -> tuple[tuple[ast.AST, list[ast.stmt]], ...]:
        """Return every block of statements with the node that owns it."""
        return tuple(
            (node, block)
            for node in ast.walk(self.tree)
            for name in ("body", "orelse", "finalbody")
            if isinstance(block := getattr(node, name, None), list) and block and isinstance(block[0], ast.stmt)
        )

    def _offset(self, line: int, column: int) -> int:
        """Return the offset in characters of a position in the tree, whose columns count bytes."""
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode(errors="ignore"))
        return self._starts[line - 1] + column


_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "format_spec", "type_params", "type_comment"}


def _places(parent: ast.AST) -> Iterator[Place]:
    for field, value in ast.iter_fields(parent):
        if field in _SKIPPED_FIELDS:
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, _UNTOUCHED) and not is_constant_statement(node):
                yield Place(node, parent, field)
                yield from _places(node)


def names_bound_in(tree: ast.AST, outer: Iterable[str] = ()) -> list[str]:
    """Return the parameters and the assigned names of a tree after the ``outer`` ones, each once, those of inner blocks last."""
    names: dict[str, None] = dict.fromkeys(outer)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id)
    return [name for name in names if name not in ("self", "cls", "_")]


def is_constant_statement(node: ast.AST) -> bool:
    """Return whether a node is a statement that consists of a constant alone, as a docstring does."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
