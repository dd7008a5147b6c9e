"""Define requests to a decoder and the completions that it returns, as plain values that do not need MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Finish = Literal["stop", "fence", "length", "copy", "line"]
"""Why a completion ended.

    stop    the model ended its turn
    fence   the stop text came
    length  ``max_tokens`` tokens were decoded
    copy    the request's ``ended`` returned True, because the completion repeats a program
    line    the request's ``ended`` returned True, because only a line was asked for
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
    """A text that ends the completion and is not part of it. It is looked for in the text that is decoded after ``given``."""
    breaks: tuple[int, ...] = ()
    """Ascending positions in the prompt up to which other prompts may be the same.

    The keys and values up to each break are kept for these prompts.
    """
    given: tuple[int, ...] = ()
    """Tokens that the completion begins with. They are not decoded, but the text of the completion includes them."""
    read: tuple[int, ...] = ()
    """The tokens of a prompt and of a program that was read under it, if the completion is a fork of this program.

    They must begin with ``prompt`` and all of ``given`` but the last token. The keys and values of these tokens are taken from the
    reading.
    """
    read_breaks: tuple[int, ...] = ()
    """Ascending positions in ``read`` at which this fork and other forks of the program begin.

    They are only used for networks with a recurrent state.
    """
    ended: Callable[[str], bool] | None = field(default=None, compare=False, repr=False)
    """Called at the end of each line with the complete lines of the text so far. If it returns True, the completion ends there."""
    ended_as: Finish = "copy"
    """The finish of a completion for which ``ended`` returned True."""
    on_text: Callable[[str], None] | None = field(default=None, compare=False, repr=False)
    """Called whenever a token was decoded, with the text so far, so that it can be shown while it is written.

    The text has no part of a character and nothing that may turn out to be the stop text. It is not called with the whole
    text at the end: the completion holds that.
    """


@dataclass(frozen=True)
class Completion:
    """A completion that was decoded."""

    ticket: int
    """The number of the request, which ``submit`` returned."""
    text: str
    """The text, which includes the given tokens."""
    n_tokens: int
    """The number of tokens that were decoded, including the end of turn but not the given tokens."""
    finish: Finish
    """Why the completion ended."""
    tokens: tuple[int, ...] = ()
    """The tokens that were decoded, or () if the decoder does not tell them."""
