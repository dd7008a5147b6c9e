"""A reading as a picture: the code shaded by how much it surprised the model, with what the model would rather have written.

Shades are stored with a run as plain values, so that a report shows them without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx_selfdebug.repair.reading import ProgramReading

FULL_SHADE_NATS = 8.0
"""The surprise from which on a token is shaded in full."""
MARKED_NATS = 1.0
"""The surprise from which on a text view marks a token."""
SHOWN_OTHERS = 3


@dataclass(frozen=True)
class Shade:
    """One token of a program: its text, by how many nats the model would rather have had its favourite there (0 where the token
    is the favourite itself), and the texts of its favourites."""

    text: str
    nats: float
    rather: tuple[str, ...]

    @property
    def favourites(self) -> str:
        """Return what the model would rather have written, to be read: "' +' or ' *'"."""
        return " or ".join(map(repr, self.rather))

    @property
    def title(self) -> str:
        return f"{self.nats:.1f} nats; rather {self.favourites}"

    def strength(self, steps: int) -> int:
        """Return how strongly the token is shaded, in whole steps: from 0, not at all, to ``steps``, in full."""
        return min(steps, int(steps * self.nats / FULL_SHADE_NATS))


@dataclass(frozen=True)
class Place:
    """A token and the line it begins in, from 1."""

    line: int
    shade: Shade


def shades_of(program: ProgramReading) -> list[Shade]:
    """Return the tokens of the program's body, in order; joined, their texts are the body."""
    reading, starts, body = program.reading, program.starts, program.body
    found: list[Shade] = []
    for i, nats in enumerate(reading.surprise):
        if starts[i] >= len(body):
            break
        text = body[starts[i] : starts[i + 1]]
        rather = tuple(program.speller.spell(int(id_)) for id_ in reading.others[i, :SHOWN_OTHERS]) if nats > 0 else ()
        found.append(Shade(text, round(max(0.0, float(nats)), 3), rather))
    return found


def as_html(shades: Sequence[Shade]) -> str:
    """Return a block of code, shaded; a title on each surprising token says what the model would rather have written."""
    return f'<pre class="reading" style="line-height: 1.5">{"".join(map(_span, shades))}</pre>'


def as_text(shades: Sequence[Shade]) -> str:
    """Return the code with its most surprising token of each line marked: ``return a [- -> +] b``."""
    marked = _most_surprising_of_each_line(shades)
    return "".join(_marked(shade) if i in marked else shade.text for i, shade in enumerate(shades))


def most_surprising(shades: Sequence[Shade], most: int) -> list[Place]:
    """Return the ``most`` most surprising places, the most surprising first, of equal ones the earlier."""
    lines = accumulate((shade.text.count("\n") for shade in shades), initial=1)
    places = [Place(line, shade) for line, shade in zip(lines, shades, strict=False) if shade.nats > 0]
    return sorted(places, key=lambda place: -place.shade.nats)[:most]


def _span(shade: Shade) -> str:
    text = escape(shade.text)
    if shade.nats <= 0:
        return text
    alpha = min(1.0, shade.nats / FULL_SHADE_NATS)
    title = escape(shade.title, quote=True)
    return f'<span style="background: rgba(220, 90, 40, {alpha:.2f})" title="{title}">{text}</span>'


def _marked(shade: Shade) -> str:
    text = shade.text.strip()
    before, _, after = shade.text.partition(text)
    return f"{before}[{text} -> {shade.rather[0].strip()}]{after}"


def _most_surprising_of_each_line(shades: Sequence[Shade]) -> set[int]:
    best: dict[int, int] = {}
    line = 0
    for i, shade in enumerate(shades):
        if shade.nats >= MARKED_NATS and shade.text.strip() and shade.rather[0].strip():
            best[line] = max(best.get(line, i), i, key=lambda j: shades[j].nats)
        line += shade.text.count("\n")
    return set(best.values())
