"""Reads files and functions of a user's Python source without running any of it."""

from __future__ import annotations

import ast
from pathlib import Path

from mlx_selfdebug.values.parsing import parse_quietly

MAX_BYTES = 1_000_000


def read_text(path: Path) -> str:
    """Read a file, with every line ending as a single newline. Raises ValueError that says what is wrong with the file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8: {data[error.start : error.start + 4]!r}") from None


def parsed(source: str) -> ast.Module:
    """Parse ``source``. Raises ValueError that names the line if it is not valid Python."""
    try:
        return parse_quietly(source)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno or 1}: not valid Python: {error.msg}") from None


def starter_of(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the lines of a function up to its body. For a class, the first lines of its methods follow.

    >>> text = "class A:\\n    def get(self) -> int:\\n        return 1\\n"
    >>> print(starter_of(text, parse_quietly(text).body[0]))
    class A:
        def get(self) -> int: ...
    """
    lines = source.split("\n")
    if isinstance(node, ast.FunctionDef):
        return _header(lines, node)
    methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
    return "\n".join([_header(lines, node), *(f"{_header(lines, method)} ..." for method in methods)])


def _header(lines: list[str], node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the lines from ``def`` or ``class`` to the line before the body, or the part of one line that is before its body."""
    first = node.body[0]
    if first.lineno > node.lineno:
        decorators = first.decorator_list if isinstance(first, ast.FunctionDef | ast.ClassDef) else []
        header = lines[node.lineno - 1 : min([first.lineno, *(decorator.lineno for decorator in decorators)]) - 1]
        while header and (not header[-1].strip() or header[-1].strip().startswith("#")):
            header.pop()
        return "\n".join(header).rstrip()
    return lines[node.lineno - 1].encode()[: first.col_offset].decode("utf-8", "ignore").rstrip()
