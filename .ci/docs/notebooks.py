"""A notebook as a page: its text, its code, and what a real run showed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown. Tables that a cell showed are taken over as HTML, and everything else as text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source:
            parts.append(fenced(source, "python"))
            parts += [text for output in cell["outputs"] if (text := _output(output))]
    return "\n\n".join(parts) + "\n"


def title(page: str) -> str:
    """Return the first heading of a page, without what follows a colon or a question mark in it."""
    heading = re.search(r"^# +(.+)$", page, re.MULTILINE)
    assert heading is not None, page[:200]
    return heading[1].partition(":")[0].strip("` ")


def fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"]).strip()}</div>'
    text = "".join(output.get("text", data.get("text/plain", ""))).strip("\n")
    return fenced(COLOUR.sub("", text), "{ .text .output }") if text else ""
