"""Find and read a user's Python source without running it, and join the checks that were made of several files.

Both kinds of own tasks use this module: folders of tasks (folder.py) and functions of a project (functions.py).
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from mlx_selfdebug.parsing import parse_quietly
from mlx_selfdebug.values.checks import Checks

MAX_BYTES = 1_000_000
"""The largest size of a file that is read."""
SKIPPED = frozenset({"node_modules", "site-packages", "dist-packages", "__pycache__"})
"""Names of folders that are not looked into."""
SKIPPED_UNLESS_PACKAGE = frozenset({"build", "dist", "env", "venv"})
"""Names of folders that tools fill. They are looked into only if they have an ``__init__.py``."""


class SourceError(ValueError):
    """A file that cannot be read, or source that is not valid Python. If a line is to blame, the message begins with its number."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {what}" if line else what)
        self.what = what
        """What is wrong, without the line."""
        self.line = line
        """The number of the line to blame, or 0 if there is none."""


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files in a folder and the folders inside it, except hidden ones and what tools have put there."""
    for root, folders, files in os.walk(folder):
        # Folders are skipped before anything in them is counted, since a virtual environment has thousands of files.
        folders[:] = [name for name in folders if not _is_skipped(Path(root, name))]
        yield from (Path(root, name) for name in files if name.endswith(".py") and not name.startswith("."))


def _is_skipped(folder: Path) -> bool:
    if folder.name in SKIPPED_UNLESS_PACKAGE and not os.path.isfile(folder / "__init__.py"):
        return True
    return folder.name in SKIPPED or folder.name.startswith(".") or os.path.isfile(folder / "pyvenv.cfg")


def is_test_file(name: str) -> bool:
    """Return whether a file of this name holds tests, by the conventions of pytest, unittest and Django."""
    return name.endswith(".py") and (
        name.startswith("test_") or name.endswith("_test.py") or name in ("test.py", "tests.py")
    )


def read_text(path: Path) -> str:
    """Read a file as UTF-8, with a single newline as the end of each line.

    Raises SourceError if the file cannot be read, is larger than ``MAX_BYTES`` or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise SourceError(f"the file is larger than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"not UTF-8: {data[error.start : error.start + 4]!r}", line) from None


def parsed(source: str) -> ast.Module:
    """Parse ``source``. Raises SourceError if it is not valid Python."""
    try:
        return parse_quietly(source)
    except SyntaxError as error:
        raise SourceError(f"not valid Python: {error.msg}", error.lineno or 1) from None
    except ValueError as error:  # nested too deeply, for example
        raise SourceError(str(error)) from None


def starter_of(source: str, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """Return starter code for a function or class: its lines up to the body. For a class, the same lines of its methods follow.

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
    """Return the source of a definition from ``def`` or ``class`` to its body, without decorators and comments above the body."""
    first = node.body[0]
    decorators: list[ast.expr] = getattr(first, "decorator_list", [])
    begin = min([first.lineno, *(decorator.lineno for decorator in decorators)])
    header = lines[node.lineno - 1 : begin - 1]
    # In ``def f(): return 1``, the body begins on the last line of the signature. ``ast`` counts columns in bytes.
    before_body = "" if decorators else lines[begin - 1].encode()[: first.col_offset].decode("utf-8", "ignore")
    if before_body.strip():
        return "\n".join([*header, before_body]).rstrip()
    while header and (not header[-1].strip() or header[-1].strip().startswith("#")):
        header.pop()
    return "\n".join(header).rstrip()


def joined(checks: list[Checks]) -> Checks:
    """Return checks that run all of ``checks``.

    Each of several checks is put into a function of its own, so that the names it defines stay apart:

        def _module_0(candidate):
            def check(candidate): ...    # the source of the first checks
            check(candidate)
        ...
        def check(candidate):
            _module_0(candidate)
            _module_1(candidate)
    """
    if len(checks) < 2:
        return checks[0] if checks else Checks()
    top_imports: list[ast.ImportFrom] = []
    functions: list[ast.stmt] = []
    for number, part in enumerate(checks):
        changed = _Nonlocal()
        body = changed.visit(parsed(part.source)).body
        hoisted = [node for node in body if isinstance(node, ast.ImportFrom) and _must_be_at_top(node)]
        top_imports += hoisted
        # ``nonlocal`` needs a variable around the function. ``global`` does not, so the module may not define the name itself.
        variables = "".join(f"    {name} = None\n" for name in changed.names if name != "candidate")
        function = parse_quietly(f"def _module_{number}(candidate):\n{variables}    check(candidate)\n").body[0]
        assert isinstance(function, ast.FunctionDef)
        *assignments, call = function.body
        function.body = [*assignments, *(node for node in body if node not in hoisted), call]
        functions.append(function)
    # Imports from ``__future__`` must come before everything else. Sorting puts False before True.
    top_imports.sort(key=lambda node: node.module != "__future__")
    calls = "".join(f"    _module_{number}(candidate)\n" for number in range(len(checks)))
    source = ast.unparse(ast.Module([*top_imports, *functions], []))
    return Checks.from_source(f"{source}\n\ndef check(candidate):\n{calls}")


def _must_be_at_top(node: ast.ImportFrom) -> bool:
    """Return whether Python allows an import only at the top level of a module."""
    return node.module == "__future__" or any(alias.name == "*" for alias in node.names)


class _Nonlocal(ast.NodeTransformer):
    """Replaces ``global`` by ``nonlocal``: the globals of a module have become variables of the function around its code."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        """The names that ``global`` statements declare, in order."""

    def visit_Global(self, node: ast.Global) -> ast.AST:
        self.names |= dict.fromkeys(node.names)
        return ast.copy_location(ast.Nonlocal(node.names), node)
