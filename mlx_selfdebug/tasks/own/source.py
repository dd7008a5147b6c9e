"""Read files and functions of a user's Python source without running any of it, and join the checks of several files."""

from __future__ import annotations

import ast
from pathlib import Path

from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.values.checks import Checks

MAX_BYTES = 1_000_000


def is_test_file(name: str) -> bool:
    """Return whether a file of this name holds tests, by the habits of pytest, unittest and Django."""
    return name.endswith(".py") and (
        name.startswith("test_") or name.endswith("_test.py") or name in ("test.py", "tests.py")
    )


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


def starter_of(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """Return the lines of a function up to its body. For a class, the first lines of its methods follow.

    >>> text = "class A:\\n    def get(self) -> int:\\n        return 1\\n"
    >>> print(starter_of(text, parse_quietly(text).body[0]))
    class A:
        def get(self) -> int: ...
    """
    lines = source.split("\n")
    if not isinstance(node, ast.ClassDef):
        return _header(lines, node)
    methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
    return "\n".join([_header(lines, node), *(f"{_header(lines, method)} ..." for method in methods)])


def _header(lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """Return the lines from ``def`` or ``class`` to the line before the body, or the part of one line that is before its body."""
    first = node.body[0]
    if first.lineno > node.lineno:
        decorators = first.decorator_list if isinstance(first, ast.FunctionDef | ast.ClassDef) else []
        header = lines[node.lineno - 1 : min([first.lineno, *(decorator.lineno for decorator in decorators)]) - 1]
        while header and (not header[-1].strip() or header[-1].strip().startswith("#")):
            header.pop()
        return "\n".join(header).rstrip()
    return lines[node.lineno - 1].encode()[: first.col_offset].decode("utf-8", "ignore").rstrip()


def joined(checks: list[Checks]) -> Checks:
    """Return one set of checks that runs all of ``checks``. The names that each of them defines stay separate."""
    if len(checks) < 2:
        return checks[0] if checks else Checks()
    first: list[ast.stmt] = []
    inner: list[ast.stmt] = []
    for number, part in enumerate(checks):
        body = _Nonlocal().visit(parsed(part.source)).body
        # Python allows these imports at the top level of a module alone.
        hoisted = [node for node in body if isinstance(node, ast.ImportFrom) and _is_for_modules(node)]
        first += hoisted
        function = parse_quietly(f"def _module_{number}(candidate):\n    check(candidate)\n").body[0]
        assert isinstance(function, ast.FunctionDef)
        function.body = [*(node for node in body if node not in hoisted), *function.body]
        inner.append(function)
    first.sort(key=lambda node: isinstance(node, ast.ImportFrom) and node.module != "__future__")
    calls = "".join(f"    _module_{number}(candidate)\n" for number in range(len(checks)))
    return Checks.from_source(f"{ast.unparse(ast.Module([*first, *inner], []))}\n\ndef check(candidate):\n{calls}")


def _is_for_modules(node: ast.ImportFrom) -> bool:
    return node.module == "__future__" or any(alias.name == "*" for alias in node.names)


class _Nonlocal(ast.NodeTransformer):
    """Turns what was global in a module into variables of the function that the module has become."""

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.copy_location(ast.Nonlocal(node.names), node)
