"""Define what is asked of a model and what comes back, as plain values that do not need MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Finish = Literal["stop", "fence", "length", "copy", "line"]
"""Why a completion is over.

The model ended its turn (``stop``), the stop text came (``fence``), ``max_tokens`` were decoded (``length``), or the request's
``ended`` said so, because the completion repeats a program (``copy``) or because a line was all that was wanted (``line``).
"""


@dataclass(frozen=True)
class Request:
    """One completion to decode."""

    prompt: tuple[int, ...]
    """The token ids of the prompt."""
    max_tokens: int
    """The maximum number of tokens to decode. Tokens that are ``given`` do not count."""
    temperature: float = 0.0
    """The sampling temperature; 0 is greedy."""
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest token are never drawn."""
    seed: int = 0
    """The seed, which alone decides the random choices."""
    stop_text: str = ""
    """A text that ends the completion and is not part of it. It is looked for in what is decoded after ``given``."""
    breaks: tuple[int, ...] = ()
    """Ascending positions in the prompt up to which other prompts may be the same. What is computed up to each is kept for them."""
    given: tuple[int, ...] = ()
    """Tokens that the completion begins with. Its text includes them."""
    read: tuple[int, ...] = ()
    """A prompt with a program that was read, from which the completion goes on.

    It must begin with ``prompt`` and all of ``given`` but the last. The keys and values of these are taken from the reading.
    """
    read_breaks: tuple[int, ...] = ()
    """Ascending positions in ``read`` from which this request and others go on."""
    ended: Callable[[str], bool] | None = field(default=None, compare=False, repr=False)
    """Called at the end of each line with the whole lines of the text so far. If it returns True, the completion ends there."""
    ended_as: Finish = "copy"
    """The finish of a completion that ``ended`` has ended."""


@dataclass(frozen=True)
class Completion:
    """A completion that was decoded."""

    ticket: int
    """The number that the request was given when it was submitted."""
    text: str
    """The text, which includes the tokens that were given."""
    n_tokens: int
    """The number of tokens that were decoded, including the end of turn but not the tokens that were given."""
    finish: Finish
    tokens: tuple[int, ...] = ()
    """The tokens that were decoded; () if the decoder has no tokens."""
