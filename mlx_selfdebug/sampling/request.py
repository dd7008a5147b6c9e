"""What is asked of a model and what comes back: values only, no MLX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Finish = Literal["stop", "fence", "length"]


@dataclass(frozen=True)
class Request:
    """One completion to decode. ``prompt`` holds token ids; ``temperature`` 0 is greedy.

    ``stop_text`` ends the completion when it appears and is not part of it. ``seed`` alone decides the random choices.
    ``breaks`` are positions in the prompt, ascending, up to which other prompts may be the same: what is computed up to
    each is kept for them.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    min_p: float = 0.0
    seed: int = 0
    stop_text: str = ""
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """``ticket`` is the number the request was given. ``n_tokens`` counts every decoded token, the end of turn included."""

    ticket: int
    text: str
    n_tokens: int
    finish: Finish
