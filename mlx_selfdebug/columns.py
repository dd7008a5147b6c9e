"""Format tables as text, aligned for a terminal of 80 columns or as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Return rows of cells as aligned lines. The columns in ``right`` are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(_line(row, widths, right) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    pairs = enumerate(zip(row, widths, strict=True))
    return "  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in pairs).rstrip()


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table whose head is the first row.

    Characters that Markdown would read as part of the table are escaped.
    """
    head, *body = [[cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
