"""Hold a program together with the model's reading of it, which shows itself as a picture.

``reading.py`` makes such readings, ``picture.py`` draws them, and edits and forks follow them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlx_selfdebug.domains.base import Domain
from mlx_selfdebug.repair.picture import Shade, as_html, as_text

if TYPE_CHECKING:
    from mlx_selfdebug.sampling.reading import Reading

SHOWN_OTHERS = 3
"""The number of the model's favourites that are shown for a token."""


class Speller(Protocol):
    """The part of a model's tokenizer that the reading of a program needs."""

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and the character at which each begins, followed by the length of ``text``."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text."""


@dataclass(frozen=True, eq=False)
class ProgramReading:
    """A program and the model's reading of it."""

    prompt: str
    """The message to which the program was read as an answer."""
    prompt_ids: tuple[int, ...]
    """The token ids of the chat with this message, up to the point where the model's reply begins."""
    breaks: tuple[int, ...]
    """Positions in ``prompt_ids``, ascending, up to which other prompts may be the same."""
    code: str
    """The whole program, with any empty lines around it."""
    ids: tuple[int, ...]
    """The n tokens of the text that was read: the body of the program, followed by what closes a completion."""
    starts: tuple[int, ...]
    """The offset in the text that was read, in characters, at which each token begins, and at last its length: n + 1 numbers."""
    reading: Reading
    """How likely the model found each token, and which tokens it would rather have written."""
    domain: Domain = field(repr=False)
    """The domain of the task."""
    speller: Speller = field(repr=False)
    """The tokenizer of the model that read the program."""

    @property
    def is_read(self) -> bool:
        """Whether a model has read the program. It is false for what ``unread`` returns."""
        return bool(self.prompt_ids)

    @property
    def body(self) -> str:
        """The program without the empty lines around it: the part that was read and that edits and forks may change."""
        return self.code.strip("\n")

    @property
    def first_line(self) -> int:
        """The number of the line of ``code``, counted from 1, in which the body begins."""
        return 1 + len(self.code) - len(self.code.lstrip("\n"))

    def shades(self) -> list[Shade]:
        """Return the tokens of the body in order, with the surprise of each. Joined together, their texts are the body."""
        shades: list[Shade] = []
        for i, nats in enumerate(self.reading.surprise):
            if self.starts[i] >= len(self.body):  # The tokens that close the completion follow.
                break
            text = self.body[self.starts[i] : self.starts[i + 1]]
            others = self.reading.others[i, :SHOWN_OTHERS] if nats > 0 else ()
            rather = tuple(self.speller.spell(int(id_)) for id_ in others)
            shades.append(Shade(text, round(max(0.0, float(nats)), 3), rather))
        return shades

    def __str__(self) -> str:
        """Return the program with the most surprising token of each line marked, beside what the model would rather have there."""
        return as_text(self.shades())

    def _repr_html_(self) -> str:
        """Return the picture that a notebook shows."""
        return as_html(self.shades())

    def code_of(self, body: str) -> str:
        """Return the program with ``body`` in the place of its own body."""
        before, _, after = self.code.partition(self.body)
        return f"{before}{body}{after}"

    def completion_of(self, body: str) -> str:
        """Return the completion by which a model would have answered with ``body``."""
        return self.domain.completion(body)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        return self.speller.encode_all(texts)
