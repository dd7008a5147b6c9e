"""Format tables as text, either as aligned columns for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Return rows of cells as aligned lines of text.

    There is at least one row, and all rows have the same number of cells. ``right`` holds the indices of the columns that are
    aligned to the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        line = "  ".join(cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in cells)
        lines.append(line.rstrip())
    return "\n".join(lines)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table whose head is the first row.

    Backslashes and vertical bars are escaped, and line breaks become spaces, so that no cell can end its column or its row.
    """
    head, *body = [[cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
