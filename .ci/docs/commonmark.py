"""Turns CommonMark, which code hosts read, into the dialect of the site, and paths of pages into links."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
CODE_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)(?!\]\()")
MARKER = re.compile(r"^ *(?:[-*+]|\d+[.)]) +")
INDENT = 4
"""The number of columns by which the site's Markdown wants the content of a list indented, at each level."""


@dataclass(frozen=True)
class _Item:
    """An item of a list, with the lines that belong to it."""

    first: int
    end: int
    column: int
    """The column at which its content begins."""


@dataclass
class Links:
    """What code spans of the pages may name, and the spans that look like the path of a page and name none."""

    targets: Mapping[str, str]
    """The page that a path of the repository stands for, such as "examples/first_steps.md" for "examples/first_steps.ipynb"."""
    settings: Mapping[str, str]
    """The page and anchor of each setting, by its dotted key."""
    broken: list[str] = field(default_factory=list)

    def link(self, text: str, source: str, page: str) -> str:
        """Return Markdown in which each code span that names a page or a setting is a link to it.

        ``source`` is the file that the text comes from, to which paths are relative, and ``page`` is the page that it becomes. Code
        blocks and headings are left as they are.
        """
        parts = []
        for is_prose, block in _blocks(text):
            if is_prose:
                block = CODE_SPAN.sub(lambda span: self._linked(span[1], source, page) or span[0], block)
            parts.append(block)
        return "\n".join(parts)

    def _linked(self, span: str, source: str, page: str) -> str | None:
        """Return the link for a code span, or None if it names nothing that is on the site, or only the page itself."""
        # A key without a section, such as `seed`, may mean other things too.
        if span in self.settings and "." in span:
            return f"[`{span}`]({relative(self.settings[span], page)})"
        folder = posixpath.dirname(source)
        paths = (posixpath.join(base, span) for base in (folder, "mlx_selfdebug", "") if "/" in span)
        named = [path for path in map(posixpath.normpath, paths) if path in self.targets]
        if not named and span.endswith(("/README.md", ".ipynb")):
            self.broken.append(f"{source}: `{span}` is no page of the site")
        if not named or self.targets[named[0]] == page:
            return None
        return f"[`{span}`]({relative(self.targets[named[0]], page)})"


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a text in blocks that a code span does not leave, each with whether it is prose.

    Code blocks, headings and blank lines are not prose. The blocks joined by line breaks are the text.
    """
    prose: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if not (fence or mark or line.startswith("#") or not line.strip()):
            prose.append(line)
            continue
        if prose:
            yield True, "\n".join(prose)
            prose = []
        yield False, line
        if fence and mark and line.strip().startswith(fence):
            fence = ""
        elif not fence and mark:
            fence = mark[1]
    if prose:
        yield True, "\n".join(prose)


def relative(target: str, page: str) -> str:
    """Return the path from a page to a target, which may end with an anchor."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def to_site(text: str) -> str:
    """Return CommonMark text as the site's Markdown.

    That wants the content of lists indented by ``INDENT`` columns, and blank lines before lists and tables and after long items.
    """
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    lines = text.split("\n")
    items = _items(tokens, lines)
    begin_blocks = {
        token.map[0]
        for token in tokens
        if token.map and (token.type == "table_open" or (token.type.endswith("_list_open") and token.level == 0))
    }
    # An item that holds several blocks ends with a blank line, or else the next item would be read as text of its last block.
    begin_blocks |= {item.end for item in items if any(not line.strip() for line in lines[item.first : item.end])}
    made: list[str] = []
    for number, line in enumerate(lines):
        if number in begin_blocks and made and made[-1].strip():
            made.append("")
        made.append(_indented(line, number, items))
    return "\n".join(made)


def _items(tokens: list[Token], lines: list[str]) -> list[_Item]:
    """Return the items of all lists, outer ones before those within them."""
    items = []
    for token in tokens:
        if token.type == "list_item_open" and token.map:
            first, end = token.map
            marker = MARKER.match(lines[first])
            items.append(_Item(first, end, marker.end() if marker else 0))
    return items


def _indented(line: str, number: int, items: list[_Item]) -> str:
    """Return a line with the indentation of the items that it is in. The first line of an item is indented as its parent's are."""
    within = [item for item in items if item.first < number < item.end]
    if not within or not line.strip():
        return line
    column = within[-1].column
    n_spaces = len(line) - len(line.lstrip(" "))
    return " " * (INDENT * len(within)) + line[min(column, n_spaces) :]
