"""What is asked of a model and what comes back: values only, no MLX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Finish = Literal["stop", "fence", "length"]


@dataclass(frozen=True)
class Request:
    """One completion to decode. ``prompt`` holds token ids; ``temperature`` 0 is greedy.

    ``stop_text`` ends the completion when it appears and is not part of it. ``seed`` alone decides the random choices.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    min_p: float = 0.0
    seed: int = 0
    stop_text: str = ""


@dataclass(frozen=True)
class Completion:
    """``index`` is the request's place in its batch. ``n_tokens`` counts every decoded token, the end of turn included."""

    index: int
    text: str
    n_tokens: int
    finish: Finish
