"""Define what decoding and reading need from a real model, and what a decoder counts. This module does not need MLX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class DecodableModel(Protocol):
    """What decoding and reading need from a real model. :class:`mlx_selfdebug.models.load.Model` documents the methods."""

    name: str
    network: Any
    """Maps ids of shape (batch, length) and a cache to logits of shape (batch, length, vocabulary)."""
    device: str
    """The device that computes: ``metal``, ``cuda`` or ``cpu``."""

    @property
    def context(self) -> int: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def ids_holding(self, character: str) -> npt.NDArray[np.bool_]: ...


@dataclass
class DecodingCounts:
    """What a decoder has done so far, and how long it took."""

    prompt_tokens: int = 0
    """The tokens of all submitted requests: their prompts, and the given tokens that their completions begin with."""
    prefilled_tokens: int = 0
    """The part of the prompt tokens that was computed, because no earlier computation could be reused."""
    decoded_tokens: int = 0
    """The tokens that were decoded, of complete and incomplete completions."""
    read_tokens: int = 0
    """The tokens of programs that were read, without their prompts."""
    steps: int = 0
    """The number of forward passes of the decode batch."""
    row_steps: int = 0
    """The sum of the rows over all steps, idle rows included. A guessed token takes a row."""
    guessed_tokens: int = 0
    """The tokens that were guessed for a request that was alone, and then checked."""
    accepted_tokens: int = 0
    """The part of the guessed tokens that was right and became part of a completion. They count as decoded too."""
    prefill_s: float = 0.0
    """The seconds spent on giving requests their rows, most of which is the computation of prompts."""
    decode_s: float = 0.0
    """The seconds spent on the steps themselves."""
