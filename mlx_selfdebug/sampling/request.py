"""What is asked of a model and what comes back: values only, no MLX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Finish = Literal["stop", "fence", "length", "copy"]
"""Why a completion is over: the model ended its turn, the stop text came, there was no room left, or ``ended`` said so."""


@dataclass(frozen=True)
class Request:
    """One completion to decode. ``prompt`` holds token ids; ``temperature`` 0 is greedy.

    ``stop_text`` ends the completion when it appears and is not part of it. ``seed`` alone decides the random choices.
    ``breaks`` are positions in the prompt, ascending, up to which other prompts may be the same: what is computed up to
    each is kept for them.

    ``given`` are tokens the completion begins with. Its text includes them; ``max_tokens`` and the stop text look at what is
    decoded after them. ``read`` is a prompt with a program that was read, from which the completion goes on: it must begin with
    ``prompt`` and all of ``given`` but the last, whose keys and values are then those of the reading. ``read_breaks`` are the
    positions in ``read``, ascending, from which this request and others go on.

    ``ended`` is asked at the end of each line with the whole lines of the text so far; True ends the completion there.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    min_p: float = 0.0
    seed: int = 0
    stop_text: str = ""
    breaks: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    read: tuple[int, ...] = ()
    read_breaks: tuple[int, ...] = ()
    ended: Callable[[str], bool] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Completion:
    """``ticket`` is the number the request was given. ``n_tokens`` counts every decoded token, the end of turn included; those
    that were given are part of ``text`` alone.
    """

    ticket: int
    text: str
    n_tokens: int
    finish: Finish
