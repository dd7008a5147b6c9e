"""Hold a source file of a project so that a function in it can be changed and every other byte stays as it is.

    file = read_source(project.root, "package/module.py")
    function = functions_of(file)[0]
    patched = file.encoded(function.spliced(program))

A function is cut out by whole lines. Encoding, byte order mark, tabs and the ends of lines stay; a line of the function that a
change leaves alone keeps its own bytes, too.
"""

from __future__ import annotations

import ast
import codecs
import difflib
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_selfdebug.domains.python_source import Function as FunctionNode
from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.errors import UsageError

MAX_FILE_BYTES = 4 << 20
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


@dataclass(frozen=True)
class SourceFile:
    """A Python file of a project, as text."""

    name: str
    """The path within the project."""
    text: str
    """The text with its own ends of lines, without a byte order mark."""
    encoding: str
    mark: bytes = b""
    """The byte order mark that the file begins with, if it has one."""

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines as Python counts them, each with its end."""
        return lines_of(self.text)

    def encoded(self, text: str) -> bytes:
        """Return the bytes of the file with ``text`` as its text. Raises UnicodeEncodeError if its encoding lacks a character."""
        return self.mark + text.encode(self.encoding)


@dataclass(frozen=True)
class Function:
    """A function or method of a source file, which a program stands for.

    The program holds a header for each class around the function, then the function's own lines without its docstring, which is
    told as a part of the statement instead.
    """

    file: SourceFile
    name: str
    """The qualified name, such as "Window.mean"."""
    headers: tuple[str, ...]
    """A line for each block that the function stands in, without its end."""
    first: int
    """The number of its first line, from 1, decorators included."""
    last: int
    docstring: tuple[int, int] | None = None
    """The first and the last line of its docstring; None if it has none that stands on lines of its own above other statements."""

    @property
    def id(self) -> str:
        return f"{self.file.name}::{self.name}"

    @property
    def entry_point(self) -> str:
        """Return the name that a program for this function defines at its top level."""
        return self.name.partition(".")[0]

    @cached_property
    def lines(self) -> list[str]:
        """Return the function's own lines without the docstring, each with its end."""
        start, end = self.docstring or (self.last + 1, self.last)
        lines = self.file.lines
        return [*lines[self.first - 1 : start - 1], *lines[end : self.last]]

    @cached_property
    def program(self) -> str:
        """Return the headers and the function as text with plain ends of lines."""
        return "".join(f"{line}\n" for line in (*self.headers, *map(_bare, self.lines)))

    @property
    def node(self) -> FunctionNode:
        """Return the syntax tree of the function within its program."""
        return _only_function(ast.parse(self.program))

    @cached_property
    def _interface(self) -> str:
        return _interface(self.node)

    @property
    def description(self) -> str:
        """Return the text of its docstring, without indentation; "" if it has none."""
        if self.docstring is None:
            return ast.get_docstring(self.node) or ""
        start, end = self.docstring
        text = textwrap.dedent("".join(self.file.lines[start - 1 : end]))
        return inspect.cleandoc(str(ast.literal_eval(text.strip())))

    def line_in_program(self, line: int) -> int | None:
        """Return the number in the program of a line of the file, both from 1; None for a line that is not in the program."""
        if not self.first <= line <= self.last:
            return None
        start, end = self.docstring or (self.last + 1, self.last)
        if start <= line <= end:
            return None
        return line - self.first + 1 + len(self.headers) - (end - start + 1 if line > end else 0)

    def own_lines(self, program: str) -> list[str] | None:
        """Return the lines of ``program`` that belong to the function, or None if the lines before them are not its headers."""
        lines = program.strip("\n").split("\n")
        n = len(self.headers)
        return lines[n:] if tuple(lines[:n]) == self.headers and len(lines) > n else None

    def swapped(self, program: str) -> str | None:
        """Return the function of ``program`` on the lines on which it would stand in the file, below its headers.

        Returns None unless ``program`` is another version of the function that differs in nothing but the body.
        """
        own = self.own_lines(program)
        if own is None or not _is_one_function(program, self.name):
            return None
        if _interface(_only_function(ast.parse(program))) != self._interface:
            return None
        if self.docstring:
            start, end = self.docstring
            own[start - self.first : start - self.first] = [""] * (end - start + 1)
        above = [""] * (self.first - 1 - len(self.headers))
        return "".join(f"{line}\n" for line in (*above, *self.headers, *own))

    def spliced(self, program: str) -> str | None:
        """Return the text of the file with the function of ``program``, or None if ``program`` is no other version of it."""
        own = self.own_lines(program)
        if own is None or not _is_one_function(program, self.name):
            return None
        all_lines = self.file.lines
        before, after = all_lines[: self.first - 1], all_lines[self.last :]
        new = _with_ends(self.lines, own)
        if self.docstring:
            start, end = self.docstring
            new[start - self.first : start - self.first] = all_lines[start - 1 : end]
            if not _keeps_docstring("".join([*(f"{line}\n" for line in self.headers), *new])):
                return None
        return "".join([*before, *new, *after])


def read_source(root: Path, name: str) -> SourceFile:
    """Read a file of a project. Raises UsageError if it is too large or its text cannot be decoded."""
    data = (root / name).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{name} has {len(data):,} bytes; only files of up to {MAX_FILE_BYTES:,} can be repaired")
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        encoding = "utf-8" if mark else encoding
        return SourceFile(name, data[len(mark) :].decode(encoding), encoding, mark)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read as Python: {error}") from error


def functions_of(file: SourceFile) -> list[Function]:
    """Return the functions and methods of a file that can be cut out, in order; none if the file does not parse.

    Functions inside functions belong to the outer one. A function that shares a line with something else is left out.
    """
    tree = parse(file.text)
    if tree is None:
        return []
    lines = file.lines
    found = (
        Function(file, name, headers, *_lines_of_node(node), docstring=_docstring_lines(node, lines))
        for name, headers, node in _functions(tree, lines, (), ())
    )
    return [function for function in found if _is_one_function(function.program, function.name)]


def lines_of(text: str) -> list[str]:
    """Return the lines of ``text`` as Python's parser counts them, each with its end. Form feeds end no line."""
    return _LINE.findall(text)


def _functions(
    node: ast.AST, lines: Sequence[str], names: tuple[str, ...], headers: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], FunctionNode]]:
    for child in _statements(node):
        if isinstance(child, FunctionNode):
            yield ".".join([*names, child.name]), headers, child
        elif isinstance(child, ast.ClassDef):
            header = _indentation(lines[child.lineno - 1]) + _class_header(child)
            yield from _functions(child, lines, (*names, child.name), (*headers, header))
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _functions(child, lines, names, (*headers, _indentation(lines[child.lineno - 1]) + "if True:"))


def _lines_of_node(node: FunctionNode) -> tuple[int, int]:
    """Return the first and the last line of a function, decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return first, node.end_lineno or node.lineno


def _docstring_lines(node: FunctionNode, lines: Sequence[str]) -> tuple[int, int] | None:
    """Return the lines of a docstring that has them for itself and stands above other statements."""
    if ast.get_docstring(node) is None or len(node.body) < 2:
        return None
    first, second = node.body[:2]
    end = first.end_lineno or first.lineno
    above = node.args.args[-1].end_lineno if node.args.args else node.lineno
    begins_line = not lines[first.lineno - 1].encode()[: first.col_offset].strip()
    ends_line = not lines[end - 1].encode()[first.end_col_offset or 0 :].strip()
    alone = begins_line and ends_line and first.lineno > (above or 0) and second.lineno > end
    return (first.lineno, end) if alone else None


def _interface(node: FunctionNode) -> str:
    """Return all of a function but its body, as text."""
    parts = [node.args, *node.decorator_list, *([node.returns] if node.returns else [])]
    return "\n".join([type(node).__name__, *map(ast.dump, parts)])


def _keeps_docstring(program: str) -> bool:
    """Return whether the function in a program has a docstring."""
    tree = parse(program)
    return tree is not None and ast.get_docstring(_only_function(tree)) is not None


def _class_header(node: ast.ClassDef) -> str:
    """Return the line that begins a class, without its decorators."""
    arguments = ", ".join(
        [*map(ast.unparse, node.bases), *(f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords if k.arg)]
    )
    return f"class {node.name}({arguments}):" if arguments else f"class {node.name}:"


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for field in ("body", "orelse", "finalbody"):
        yield from getattr(node, field, [])
    for handler in getattr(node, "handlers", []):
        yield from handler.body


def _is_one_function(program: str, name: str) -> bool:
    """Return whether ``program`` parses and holds this one function and nothing beside it."""
    tree = parse(program)
    try:
        return tree is not None and _only_function(tree).name == name.rpartition(".")[2]
    except ValueError:
        return False


def _only_function(tree: ast.Module) -> FunctionNode:
    """Return the function in a program. Raises ValueError if a block on the way to it holds anything else."""
    body: list[ast.stmt] = tree.body
    while len(body) == 1 and isinstance(body[0], ast.ClassDef | ast.If):
        body = body[0].body
    if len(body) != 1 or not isinstance(body[0], FunctionNode):
        raise ValueError("the program holds more than one function")
    return body[0]


def _with_ends(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the new lines with ends: a line that was there keeps its bytes, and the others end as most lines do."""
    ends = [line[len(_bare(line)) :] for line in old]
    usual = max(ends, key=ends.count) or "\n"
    kept: dict[int, str] = {}
    matcher = difflib.SequenceMatcher(None, list(map(_bare, old)), list(new), autojunk=False)
    for start, new_start, n in matcher.get_matching_blocks():
        kept |= {new_start + i: old[start + i] for i in range(n)}
    lines = [kept.get(i, line + usual) for i, line in enumerate(new)]
    # What follows the function begins on a line of its own, and a file that ended without a newline still does.
    lines[:-1] = [line if line != _bare(line) else line + usual for line in lines[:-1]]
    lines[-1] = _bare(lines[-1]) + ends[-1]
    return lines


def _bare(line: str) -> str:
    return line.rstrip("\r\n")


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
