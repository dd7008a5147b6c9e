"""Read a source file of a project, and put other code in the place of one of its functions.

    file = read_source(project.root, "package/module.py")
    function = functions_of(file)[0]
    patched = file.encoded(function.spliced(program))

Outside of the function, no byte of the file changes: its encoding, byte order mark, tabs and line ends stay. Inside, a line that
the new code leaves as it was also keeps its line end. To make this possible, a function is cut out and replaced by whole lines.
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
from typing import NamedTuple

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.parsing import parse

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
MAX_FILE_BYTES = 4 << 20
"""The largest size of a file that is read."""
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
"""Matches a line as Python's parser counts lines. ``str.splitlines`` would also end lines at form feeds, for example."""


@dataclass(frozen=True)
class SourceFile:
    """A Python file of a project, as text."""

    name: str
    """The path of the file, relative to the project's folder."""
    text: str
    """The decoded text without a byte order mark. The line ends are as they are in the file."""
    encoding: str
    mark: bytes = b""
    """The byte order mark at the beginning of the file, or empty bytes if there is none."""

    @cached_property
    def lines(self) -> list[str]:
        """The lines as Python's parser counts them, each with its line end."""
        return lines_of(self.text)

    def encoded(self, text: str) -> bytes:
        """Return the bytes that the file has once ``text`` is its text.

        Raises UnicodeEncodeError if ``text`` has a character that the file's encoding lacks.
        """
        return self.mark + text.encode(self.encoding)


@dataclass(frozen=True)
class Lines:
    """A range of lines."""

    first: int
    """The number of the first line, from 1."""
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, line: int) -> bool:
        return self.first <= line <= self.last


@dataclass(frozen=True)
class Function:
    """A function or method of a source file.

    Models read, and edits change, the *program* of a function: a header line for each block around the function, such as its class,
    and then the function's own lines. The docstring is not part of the program, since the statement of a task holds it. This is the
    program of a method:

        class Window(Sequence):
            def mean(self):
                return sum(self.values) / len(self.values)
    """

    file: SourceFile
    name: str
    """The qualified name, such as "Window.mean"."""
    headers: tuple[str, ...]
    """A header line for each block around the function, outermost first, with its indentation and without a line end."""
    first: int
    """The number of its first line in the file, from 1, decorators included."""
    last: int
    docstring: Lines | None = None
    """The lines of its docstring in the file.

    None if it has no docstring, if the docstring is all of the body, or if it shares a line with something else. In the last two
    cases, the docstring is part of the program.
    """

    @property
    def id(self) -> str:
        """The file and the qualified name, such as "package/module.py::Window.mean"."""
        return f"{self.file.name}::{self.name}"

    @property
    def entry_point(self) -> str:
        """The name that the program defines at its top level: that of the function, or of the outermost class."""
        return self.name.partition(".")[0]

    @cached_property
    def lines(self) -> list[str]:
        """The function's own lines without the docstring, each with its line end."""
        lines = self.file.lines[self.first - 1 : self.last]
        if self.docstring:
            del lines[self.docstring.first - self.first : self.docstring.last - self.first + 1]
        return lines

    @cached_property
    def program(self) -> str:
        r"""The program: the headers and the function's own lines, with "\n" at the end of each line."""
        return "".join(f"{line}\n" for line in (*self.headers, *map(_without_end, self.lines)))

    @property
    def node(self) -> FunctionNode:
        """The syntax tree of the function. Its line numbers are those of the program."""
        return _only_function(ast.parse(self.program))

    @cached_property
    def _interface(self) -> str:
        return _interface_of(self.node)

    @property
    def description(self) -> str:
        """The text of the docstring without indentation, or an empty string if there is no docstring."""
        if self.docstring is None:
            return ast.get_docstring(self.node) or ""
        text = textwrap.dedent("".join(self.file.lines[self.docstring.first - 1 : self.docstring.last]))
        return inspect.cleandoc(str(ast.literal_eval(text.strip())))

    @property
    def signature(self) -> str:
        """The program up to the body of the function, as it is written."""
        lines, node = self.program.split("\n"), self.node
        body = node.body[0]
        # In ``def f(): return 1``, what comes before the body on its line belongs to the signature.
        same_line = lines[body.lineno - 1].encode()[: body.col_offset].decode().rstrip()
        return "\n".join([*lines[: body.lineno - 1], *([same_line] if same_line else [])])

    @cached_property
    def body_lines(self) -> dict[int, int]:
        """The lines of the body: their numbers in the file with their numbers in the program, both from 1.

        The other lines of a function (its decorators and ``def``) run when the module is imported.
        """
        body = self.node.body[0].lineno
        lines = {line: self.line_in_program(line) or 0 for line in range(self.first, self.last + 1)}
        return {line: in_program for line, in_program in lines.items() if in_program >= body}

    def line_in_program(self, line: int) -> int | None:
        """Return the number in the program of a line of the file, both from 1; None if that line is not in the program."""
        return _line_in_program(line, Lines(self.first, self.last), self.docstring, len(self.headers))

    def own_lines(self, program: str) -> list[str] | None:
        """Return the lines of ``program`` below the headers, or None if it does not begin with the headers of this function."""
        lines = program.strip("\n").split("\n")
        n = len(self.headers)
        return lines[n:] if tuple(lines[:n]) == self.headers and len(lines) > n else None

    def spliced(self, program: str) -> str | None:
        """Return the text of the whole file with ``program`` in the place of this function.

        Returns None if ``program`` is not another version of exactly this function, or if it has no line for the docstring.
        """
        if not _is_one_function(program, self.name):
            return None
        placed = self.placed(program)
        return placed.text if placed and (placed.docstring or not self.docstring) else None

    def placed(self, code: str) -> Placed | None:
        """Return the whole file with ``code`` in the place of this function, and where in the file ``code`` now stands.

        For a method, ``code`` is another version of the program. For a function of a module, ``code`` may hold other statements
        beside it, such as imports and helpers. The docstring is put into the function unless it would share a line.

        Returns None if ``code`` does not define the function.
        """
        code = code.strip("\n") + "\n"
        own, node = self.own_lines(code), self._node_in(code)
        if own is None or node is None:
            return None
        new_lines = _with_line_ends(own, self.lines)
        lines, docstring = self.file.lines, None
        place = self._docstring_place(own, node)
        if self.docstring and place is not None:
            body = own[node.body[0].lineno - 1 - len(self.headers)]
            new_lines[place:place] = _indented_as(lines[self.docstring.first - 1 : self.docstring.last], body)
            docstring = Lines(self.first + place, self.first + place + len(self.docstring) - 1)
        text = "".join([*lines[: self.first - 1], *new_lines, *lines[self.last :]])
        return Placed(text, self.first, self.first + len(new_lines) - 1, len(self.headers), docstring)

    def swapped(self, program: str) -> str | None:
        """Return ``program`` with empty lines in it, so that the function stands on the lines on which it stands in the file.

        Compiled code then reports the right line numbers. The headers stand directly above the function.

        Returns None unless ``program`` is another version of this function that differs in nothing but the body.
        """
        own = self.own_lines(program)
        if own is None or not _is_one_function(program, self.name):
            return None
        node = _only_function(ast.parse(program.strip("\n")))
        if _interface_of(node) != self._interface:
            return None
        place = self._docstring_place(own, node)
        if self.docstring and place is not None:
            own[place:place] = [""] * len(self.docstring)
        above = [""] * (self.first - 1 - len(self.headers))
        return "".join(f"{line}\n" for line in (*above, *self.headers, *own))

    def _node_in(self, code: str) -> FunctionNode | None:
        """Return the function in ``code`` that takes the place of this one, or None if there is none."""
        tree = parse(code)
        if tree is None:
            return None
        if self.headers:
            return _only_function(tree) if _is_one_function(code, self.name) else None
        return next((n for n in reversed(tree.body) if isinstance(n, FunctionNode) and n.name == self.name), None)

    def _docstring_place(self, own: Sequence[str], node: FunctionNode) -> int | None:
        """Return the index in ``own`` before which the docstring belongs.

        ``own`` and ``node`` are the own lines and the tree of another version of the function. Returns None if this function has no
        docstring on lines of its own, or if the body of the other version begins on the line of its signature.
        """
        if self.docstring is None:
            return None
        n_above = self.docstring.first - self.first
        if list(own[:n_above]) == [_without_end(line) for line in self.lines[:n_above]] and n_above < len(own):
            return n_above
        # The lines above the docstring have changed: it goes above the body, and above the comments that precede the body.
        body = node.body[0]
        place = body.lineno - 1 - len(self.headers)
        if own[place].encode()[: body.col_offset].strip():
            return None
        while not own[place - 1].strip() or own[place - 1].lstrip().startswith("#"):
            place -= 1
        return place


@dataclass(frozen=True)
class Placed:
    """A file in which other code stands in the place of a function."""

    text: str
    """The text of the whole file."""
    first: int
    """The number of the first line of the code in the file, from 1."""
    last: int
    n_headers: int
    """The number of header lines at the beginning of the code, which are not put into the file."""
    docstring: Lines | None = None
    """The lines of the file on which the docstring was put in, or None if none was."""

    def line_in_code(self, line: int) -> int:
        """Return the number in the code of a line of the file, both from 1; 0 if that line is not in the code."""
        return _line_in_program(line, Lines(self.first, self.last), self.docstring, self.n_headers) or 0


def read_source(root: Path, name: str) -> SourceFile:
    """Read the file ``name`` of the project at ``root``. Raises UsageError if it is too large or cannot be decoded."""
    data = (root / name).read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{name} has {len(data):,} bytes; only files of up to {MAX_FILE_BYTES:,} can be repaired")
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        # With a mark, the encoding that is detected is "utf-8-sig", which would write a second mark.
        encoding = "utf-8" if mark else encoding
        return SourceFile(name, data[len(mark) :].decode(encoding), encoding, mark)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read as Python: {error}") from error


def functions_of(file: SourceFile) -> list[Function]:
    """Return the functions and methods of a file that can be replaced, in order; none if the file does not parse.

    A function inside a function is part of the outer one. A function that shares a line with another statement is left out, since
    it cannot be cut out by whole lines.
    """
    tree = parse(file.text)
    if tree is None:
        return []
    lines = file.lines
    functions = []
    for name, headers, node in _functions_below(tree, lines):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or node.lineno
        functions.append(Function(file, name, headers, first, last, _docstring_lines(node, lines)))
    return [function for function in functions if _is_one_function(function.program, function.name)]


def lines_of(text: str) -> list[str]:
    """Return the lines of ``text`` as Python's parser counts them, each with its line end. Joined, they are ``text`` again."""
    return _LINE.findall(text)


class _FoundFunction(NamedTuple):
    """A function in a syntax tree, with its qualified name and the headers of the blocks around it (see ``Function``)."""

    name: str
    headers: tuple[str, ...]
    node: FunctionNode


def _functions_below(
    node: ast.AST, lines: Sequence[str], names: tuple[str, ...] = (), headers: tuple[str, ...] = ()
) -> Iterator[_FoundFunction]:
    """Yield the functions in the blocks of ``node``, whose own classes and blocks have ``names`` and ``headers``."""
    for child in _statements(node):
        if isinstance(child, FunctionNode):
            yield _FoundFunction(".".join([*names, child.name]), headers, child)
        elif isinstance(child, ast.ClassDef):
            header = _indentation(lines[child.lineno - 1]) + _class_header(child)
            yield from _functions_below(child, lines, (*names, child.name), (*headers, header))
        elif isinstance(child, ast.If | ast.Try | ast.With):
            # The condition of the block does not matter to the function, but a program needs some line at this indentation.
            header = _indentation(lines[child.lineno - 1]) + "if True:"
            yield from _functions_below(child, lines, names, (*headers, header))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements directly inside the blocks of ``node``."""
    for field in ("body", "orelse", "finalbody"):
        yield from getattr(node, field, [])
    for handler in getattr(node, "handlers", []):
        yield from handler.body


def _class_header(node: ast.ClassDef) -> str:
    """Return the line that begins a class, without its decorators."""
    arguments = ", ".join(
        [*map(ast.unparse, node.bases), *(f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords if k.arg)]
    )
    return f"class {node.name}({arguments}):" if arguments else f"class {node.name}:"


def _docstring_lines(node: FunctionNode, lines: Sequence[str]) -> Lines | None:
    """Return the lines of the docstring of a function; None unless it has whole lines to itself and statements follow it."""
    if ast.get_docstring(node) is None or len(node.body) < 2:
        return None
    docstring, following = node.body[:2]
    last = docstring.end_lineno or docstring.lineno
    signature_end = (node.args.args[-1].end_lineno if node.args.args else node.lineno) or 0
    begins_line = not lines[docstring.lineno - 1].encode()[: docstring.col_offset].strip()
    ends_line = not lines[last - 1].encode()[docstring.end_col_offset or 0 :].strip()
    is_alone = begins_line and ends_line and docstring.lineno > signature_end and following.lineno > last
    return Lines(docstring.lineno, last) if is_alone else None


def _line_in_program(line: int, lines: Lines, docstring: Lines | None, n_headers: int) -> int | None:
    """Return the number in a program of a line of the file; None for a line outside of ``lines`` or inside the docstring.

    ``lines`` are the lines of the function in the file. ``docstring`` are the lines of its docstring, which the program lacks.
    """
    if line not in lines or (docstring and line in docstring):
        return None
    n_left_out = len(docstring) if docstring and line > docstring.last else 0
    return line - lines.first + 1 + n_headers - n_left_out


def _is_one_function(program: str, name: str) -> bool:
    """Return whether ``program`` parses and holds nothing but a function, or a method, of this qualified name."""
    tree = parse(program)
    try:
        return tree is not None and _only_function(tree).name == name.rpartition(".")[2]
    except ValueError:
        return False


def _only_function(tree: ast.Module) -> FunctionNode:
    """Return the function in a program. Raises ValueError if the program, or a block around the function, holds anything else."""
    body: list[ast.stmt] = tree.body
    while len(body) == 1 and isinstance(body[0], ast.ClassDef | ast.If):
        body = body[0].body
    if len(body) != 1 or not isinstance(body[0], FunctionNode):
        raise ValueError("the program holds more than one function")
    return body[0]


def _interface_of(node: FunctionNode) -> str:
    """Return all of a function but its name and its body, as text that can be compared."""
    parts = [node.args, *node.decorator_list, *([node.returns] if node.returns else [])]
    return "\n".join([type(node).__name__, *map(ast.dump, parts)])


def _with_line_ends(new: Sequence[str], old: Sequence[str]) -> list[str]:
    """Return the lines ``new``, which have no line ends, with line ends.

    A line that is also in ``old`` keeps its line end, since a file may mix them. Other lines get the most common one of ``old``.
    """
    ends = [line[len(_without_end(line)) :] for line in old]
    usual_end = max(ends, key=ends.count) or "\n"
    kept: dict[int, str] = {}
    matcher = difflib.SequenceMatcher(None, list(map(_without_end, old)), list(new), autojunk=False)
    for start, new_start, n in matcher.get_matching_blocks():
        kept |= {new_start + i: old[start + i] for i in range(n)}
    lines = [kept.get(i, line + usual_end) for i, line in enumerate(new)]
    # What follows the function begins on a line of its own, and a file that ended without a newline still does.
    lines[:-1] = [line if line != _without_end(line) else line + usual_end for line in lines[:-1]]
    lines[-1] = _without_end(lines[-1]) + ends[-1]
    return lines


def _indented_as(docstring: Sequence[str], line: str) -> list[str]:
    """Return the lines of a docstring with the first one indented like ``line``.

    The others are not indented anew, since their indentation is part of the docstring's value.
    """
    first, *others = docstring
    return [_indentation(line) + first.lstrip(), *others]


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _without_end(line: str) -> str:
    return line.rstrip("\r\n")
