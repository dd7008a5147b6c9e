"""Takes the answer out of a completion, for domains whose answers are not Python. Python has python_tidy.py."""

from __future__ import annotations

import re

from mlx_selfdebug.domains.base import Tidied

_MARKER = re.compile(r"<\|(?:im_start|im_end|endoftext|end|eot_id)\|>|<end_of_turn>|</s>")
_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def fenced_or_whole(text: str) -> Tidied:
    """Return the first fenced block of ``text``, or else the text before a closing fence. The code ends with one newline."""
    cut = without_markers(text)
    block = _BLOCK.search(cut.code)
    if block and block[1].strip():
        return Tidied(block[1].strip() + "\n", (*cut.steps, "fence"))
    return Tidied(cut.code.split("\n```")[0].strip().removesuffix("```").strip() + "\n", cut.steps)


def without_markers(text: str) -> Tidied:
    """Return ``text`` up to the first marker of a chat template."""
    marker = _MARKER.search(text)
    return Tidied(text[: marker.start()].strip() + "\n", ("markers",)) if marker else Tidied(text.strip() + "\n")
