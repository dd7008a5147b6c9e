"""Show a reading as a picture: the code shaded by how much it surprised the model, with what the model would rather have written.

There are three pictures: HTML for notebooks and reports, colours for terminals, and plain text such as ``return a [- -> +] b``. A
shade is a plain value that is stored with a run, so a report can show it without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, zip_longest

FULL_SHADE_NATS = 8.0
"""The smallest surprise, in nats, at which a token is shaded in full."""
MARKED_NATS = 1.0
"""The smallest surprise, in nats, at which the text view marks a token."""
BACKGROUNDS = (None, 229, 222, 215, 208)
"""The backgrounds of tokens in a terminal, from no surprise to full surprise, as numbers of the terminal's 256 colours."""


@dataclass(frozen=True)
class Shade:
    """One token of a program, and what the model would rather have in its place."""

    text: str
    """The text of the token."""
    nats: float
    """The surprise: by how many nats the model finds its favourite likelier than this token; 0 if the token is the favourite."""
    rather: tuple[str, ...]
    """The texts of the model's favourites, the likeliest first; empty if the token itself is the favourite."""

    @property
    def favourites(self) -> str:
        """What the model would rather have written, as a phrase to read: "' +' or ' *'"."""
        return " or ".join(map(repr, self.rather))

    @property
    def title(self) -> str:
        """The surprise and the favourites as a phrase: "4.2 nats; rather ' +' or ' *'"."""
        return f"{self.nats:.1f} nats; rather {self.favourites}"

    def strength(self, steps: int) -> int:
        """Return how strongly the token is shaded, as a whole number from 0 (not at all) to ``steps`` (in full)."""
        return min(steps, int(steps * self.nats / FULL_SHADE_NATS))


@dataclass(frozen=True)
class Place:
    """A token and the line in which it begins."""

    line: int
    """The number of the line in the program's body, from 1."""
    shade: Shade


def as_html(shades: Sequence[Shade], margin: Sequence[str] = ()) -> str:
    """Return the code as a shaded block of HTML. The title of a surprising token says what the model would rather have written.

    ``margin`` is what stands before each line of the code. It is empty if there is no margin.
    """
    # A title has no line breaks, so each one is a line break of the code.
    lines = "".join(map(_span, shades)).split("\n")
    code = "\n".join(escape(mark) + line for mark, line in zip_longest(margin, lines, fillvalue=""))
    return f'<pre class="reading" style="line-height: 1.5">{code}</pre>'


def as_text(shades: Sequence[Shade]) -> str:
    """Return the code with the most surprising token of each line marked: ``return a [- -> +] b``."""
    to_mark = _most_surprising_of_each_line(shades)
    return "".join(_marked(shade) if i in to_mark else shade.text for i, shade in enumerate(shades))


def as_ansi(shades: Sequence[Shade]) -> str:
    """Return the code for a terminal, with a background that is the stronger the more a token surprised the model."""
    return "".join(map(_coloured, shades))


def most_surprising(shades: Sequence[Shade], max_places: int) -> list[Place]:
    """Return at most ``max_places`` surprising places, the most surprising first. Of equal places the earlier comes first."""
    lines = accumulate((shade.text.count("\n") for shade in shades), initial=1)
    places = [Place(line, shade) for line, shade in zip(lines, shades, strict=False) if shade.nats > 0]
    return sorted(places, key=lambda place: -place.shade.nats)[:max_places]


def _span(shade: Shade) -> str:
    """Return the HTML of a token. Only a token that surprised the model has a background and a title."""
    text = escape(shade.text)
    if shade.nats <= 0:
        return text
    alpha = min(1.0, shade.nats / FULL_SHADE_NATS)
    title = escape(shade.title, quote=True)
    return f'<span style="background: rgba(220, 90, 40, {alpha:.2f})" title="{title}">{text}</span>'


def _coloured(shade: Shade) -> str:
    """Return a token for a terminal, inside ANSI codes for its background."""
    text = shade.text.strip()
    background = BACKGROUNDS[shade.strength(len(BACKGROUNDS) - 1)]
    if background is None or not text:
        return shade.text
    # Only what can be seen of a token is coloured, and not the space before it or the line that it ends.
    before, _, after = shade.text.partition(text)
    return f"{before}\x1b[30;48;5;{background}m{text}\x1b[0m{after}"


def _marked(shade: Shade) -> str:
    """Return a token in brackets, beside the model's favourite: ``[- -> +]``."""
    text = shade.text.strip()
    before, _, after = shade.text.partition(text)
    return f"{before}[{text} -> {shade.rather[0].strip()}]{after}"


def _most_surprising_of_each_line(shades: Sequence[Shade]) -> set[int]:
    """Return the indices of the tokens to mark. A token is never marked if it, or the model's favourite, is only white space."""
    by_line: dict[int, int] = {}
    line = 0
    for i, shade in enumerate(shades):
        if shade.nats >= MARKED_NATS and shade.text.strip() and shade.rather[0].strip():
            by_line[line] = max(by_line.get(line, i), i, key=lambda j: shades[j].nats)
        line += shade.text.count("\n")
    return set(by_line.values())
