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

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.parsing import parse

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
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

    @property
    def signature(self) -> str:
        """Return the headers of the program and the lines of the function above its body, as they are written."""
        lines, node = self.program.split("\n"), self.node
        first = node.body[0]
        above = lines[first.lineno - 1].encode()[: first.col_offset].decode().rstrip()
        return "\n".join([*lines[: first.lineno - 1], *([above] if above else [])])

    @cached_property
    def body_lines(self) -> dict[int, int]:
        """Return the lines of the file, from 1, that belong to the body, each with its number in the program.

        The other lines of a function, those of its decorators and of ``def``, run when the module is imported.
        """
        body = self.node.body[0].lineno
        lines = {line: self.line_in_program(line) or 0 for line in range(self.first, self.last + 1)}
        return {line: place for line, place in lines.items() if place >= body}

    def swapped(self, program: str) -> str | None:
        """Return the function of ``program`` on the lines on which it would stand in the file, below its headers.

        Returns None unless ``program`` is another version of the function that differs in nothing but the body.
        """
        own = self.own_lines(program)
        if own is None or not _is_one_function(program, self.name):
            return None
        node = _only_function(ast.parse(program.strip("\n")))
        if _interface(node) != self._interface:
            return None
        place = self._docstring_place(own, node)
        if self.docstring and place is not None:
            start, end = self.docstring
            own[place:place] = [""] * (end - start + 1)
        above = [""] * (self.first - 1 - len(self.headers))
        return "".join(f"{line}\n" for line in (*above, *self.headers, *own))

    def spliced(self, program: str) -> str | None:
        """Return the text of the file with the function of ``program``, or None if ``program`` is no other version of it."""
        if not _is_one_function(program, self.name):
            return None
        placed = self.placed(program)
        return placed.text if placed and (placed.docstring or not self.docstring) else None

    def placed(self, code: str) -> Placed | None:
        """Return the file with ``code`` in the place of the function, or None if ``code`` does not stand for it.

        For a method, ``code`` is a program as it is described above. For a function of a module, other statements may stand beside
        it, such as imports and helpers. The docstring is put into the function if there is a line for it.
        """
        code = code.strip("\n") + "\n"
        own, node = self.own_lines(code), self._node_in(code)
        if own is None or node is None:
            return None
        place, docstring = self._docstring_place(own, node), None
        new = _with_ends(self.lines, own)
        if self.docstring and place is not None:
            start, end = self.docstring
            new[place:place] = _indented_as(
                self.file.lines[start - 1 : end], own[node.body[0].lineno - 1 - len(self.headers)]
            )
            docstring = (self.first + place, end - start + 1)
        lines = self.file.lines
        text = "".join([*lines[: self.first - 1], *new, *lines[self.last :]])
        return Placed(text, self.first, self.first + len(new) - 1, len(self.headers), docstring)

    def _node_in(self, code: str) -> FunctionNode | None:
        """Return the function in ``code`` that takes the place of this one, or None if there is none."""
        tree = parse(code)
        if tree is None:
            return None
        if self.headers:
            return _only_function(tree) if _is_one_function(code, self.name) else None
        return next((n for n in reversed(tree.body) if isinstance(n, FunctionNode) and n.name == self.name), None)

    def _docstring_place(self, own: Sequence[str], node: FunctionNode) -> int | None:
        """Return before which of the lines of another version the docstring belongs; None if there is no line for it."""
        if self.docstring is None:
            return None
        usual = self.docstring[0] - self.first
        if list(own[:usual]) == [_bare(line) for line in self.lines[:usual]] and usual < len(own):
            return usual
        first = node.body[0]
        place = first.lineno - 1 - len(self.headers)
        if own[place].encode()[: first.col_offset].strip():
            return None
        while not own[place - 1].strip() or own[place - 1].lstrip().startswith("#"):
            place -= 1
        return place


@dataclass(frozen=True)
class Placed:
    """A file with other code in the place of a function."""

    text: str
    """The text of the file."""
    first: int
    """The number of the first line of the code in the file, from 1."""
    last: int
    n_headers: int
    docstring: tuple[int, int] | None = None
    """The first line and the number of lines of the docstring that was put in; None if none was."""

    def line_in_code(self, line: int) -> int:
        """Return the number in the code of a line of the file; 0 for a line that is not in the code."""
        if not self.first <= line <= self.last:
            return 0
        start, n = self.docstring or (self.last + 1, 0)
        if start <= line < start + n:
            return 0
        return line - self.first + 1 + self.n_headers - (n if line > start else 0)


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


def _indented_as(docstring: Sequence[str], line: str) -> list[str]:
    """Return the lines of a docstring, the first one with the indentation of ``line``."""
    first, *others = docstring
    return [_indentation(line) + first.lstrip(), *others]


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
