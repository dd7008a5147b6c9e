"""Hold a Python program both as text and as a syntax tree, to edit a part of the text that is found in the tree.

The rest of the text stays as it is, with its comments and layout, which ``ast.unparse`` would lose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import lines_of
from mlx_selfdebug.repair.edits.edit import Edit

_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.JoinedStr)
"""Nodes that are never changed, nor anything inside them. Before Python 3.12, offsets inside f-strings are not reliable."""
_UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "format_spec", "type_params", "type_comment"}
"""Fields of nodes whose contents are never changed."""


@dataclass(frozen=True)
class Place:
    """A node of the tree and its position under its parent."""

    node: ast.AST
    parent: ast.AST
    field: str
    """The field of ``parent`` that holds the node, or that holds the list in which the node stands."""


class PythonSource:
    """A Python program, ``code``, with its syntax tree, ``tree``. All offsets are in characters."""

    def __init__(self, code: str, tree: ast.Module) -> None:
        self.code = code
        self.tree = tree
        self._lines = lines_of(code)
        self._starts = list(accumulate(map(len, self._lines), initial=0))
        """The offset at which each line begins, and at last the length of the program. The list is longer than the lines by one."""

    @classmethod
    def parsed(cls, code: str) -> PythonSource | None:
        """Return ``code`` with its tree, or None if it does not parse."""
        tree = parse(code)
        return cls(code, tree) if tree is not None else None

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the offsets at which the text of ``node`` begins and ends."""
        return (
            self._offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self._offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def text(self, node: ast.AST) -> str:
        """Return the text of ``node``."""
        start, end = self.span(node)
        return self.code[start:end]

    def replaced(self, node: ast.AST, text: str, operator: str) -> Edit:
        """Return the edit that puts ``text`` in the place of ``node``."""
        return Edit(*self.span(node), text, operator)

    def between(self, left: ast.AST, right: ast.AST, old: str, new: str, operator: str) -> Edit | None:
        """Return the edit that replaces ``old`` by ``new`` between two nodes, or None if ``old`` does not stand there."""
        offset = self.code.find(old, self.span(left)[1], self.span(right)[0])
        return Edit(offset, offset + len(old), new, operator) if offset >= 0 else None

    def lines_of(self, node: ast.stmt) -> tuple[int, int]:
        """Return the offsets at which the first line of a statement begins and its last line ends, including the newline."""
        last = node.end_lineno or node.lineno
        return self._starts[node.lineno - 1], self._starts[last]

    def indentation(self, node: ast.stmt) -> str:
        """Return the white space at the beginning of the first line of ``node``."""
        line = self._lines[node.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def begins_its_line(self, node: ast.stmt) -> bool:
        """Return whether only white space stands before ``node`` on its line, unlike in ``if x: return`` on one line."""
        return self.span(node)[0] == self._starts[node.lineno - 1] + len(self.indentation(node))

    def places(self) -> Iterator[Place]:
        """Yield every place that may be changed, in the order of the tree.

        Docstrings, annotations, decorators, type parameters, imports, ``global``, ``nonlocal``, f-strings and format specifications
        are left out.
        """
        yield from _places(self.tree)

    @cached_property
    def blocks(self) -> tuple[tuple[ast.AST, list[ast.stmt]], ...]:
        """Every block of statements, after the node to which it belongs."""
        blocks: list[tuple[ast.AST, list[ast.stmt]]] = []
        for node in ast.walk(self.tree):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                # The body of a lambda or of a conditional expression is an expression and no list.
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                    blocks.append((node, block))
        return tuple(blocks)

    def _offset(self, line: int, column: int) -> int:
        """Return the offset of a position that the tree gives as a line, counted from 1, and a column in bytes of UTF-8."""
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode(errors="ignore"))
        return self._starts[line - 1] + column


def _places(parent: ast.AST) -> Iterator[Place]:
    """Yield every place below ``parent`` that may be changed."""
    for field, value in ast.iter_fields(parent):
        if field in _UNTOUCHED_FIELDS:
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, _UNTOUCHED) and not is_constant_statement(node):
                yield Place(node, parent, field)
                yield from _places(node)


def names_bound_in(tree: ast.AST, outer: Iterable[str] = ()) -> list[str]:
    """Return the ``outer`` names, then the parameters and assigned names of ``tree``, each name once.

    Names of inner blocks come last. ``self``, ``cls`` and ``_`` are left out.
    """
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
