"""Group examples into optimizer steps, and the examples of a step into micro-batches, which are computed one after the other.

Every example occurs once per epoch, and the last step of an epoch may have fewer of them. The order depends only on the seed and
the epoch, so a resumed training continues with the examples it would have had. The rows of a micro-batch have similar lengths and
are padded at their end to one of a few lengths. Padding is never supervised.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.training.examples import Example

T = TypeVar("T")

MIN_PADDED_LENGTH = 32
STEPS_PER_OCTAVE = 4
"""The number of padded lengths from one power of two to the next."""


@dataclass(frozen=True)
class MicroBatch:
    """Rows of tokens that are computed together."""

    ids: npt.NDArray[np.int32]
    """The tokens, of shape (rows, length), padded with 0 at the end of each row."""
    where: npt.NDArray[np.int32]
    """The positions in the flattened ``ids`` that predict a supervised token, of shape (supervised,)."""
    targets: npt.NDArray[np.int32]
    """The supervised tokens, of shape (supervised,)."""
    weights: npt.NDArray[np.float32]
    """The weights of the targets in the loss, of shape (supervised,)."""

    @property
    def n_tokens(self) -> int:
        """The number of tokens that are computed, including padding."""
        return int(self.ids.size)


def steps_of(examples: Sequence[T], batch_size: int, epochs: int, seed: int) -> Iterator[list[T]]:
    """Yield the examples of each optimizer step, in order."""
    for epoch in range(epochs):
        order = list(examples)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def micro_batches(examples: Sequence[Example], max_tokens: int) -> list[MicroBatch]:
    """Return ``examples`` in micro-batches of rows of similar length.

    A micro-batch has at most ``max_tokens`` tokens, including padding, unless a single row is longer, which is then computed alone.
    """
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda e: len(e.ids)):
        length = padded_length(len(example.ids) - 1)
        if batches and (len(batches[-1]) + 1) * length <= max_tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
    return [_together(batch) for batch in batches]


def padded_length(length: int) -> int:
    """Return ``length`` rounded up to one of 32, 40, 48, 56, 64, 80, ... tokens.

    There are only four lengths per octave, so that few shapes are ever compiled.
    """
    if length <= MIN_PADDED_LENGTH:
        return MIN_PADDED_LENGTH
    octave = 1 << (length - 1).bit_length() - 1
    step = octave // STEPS_PER_OCTAVE
    return -(-length // step) * step


def _together(examples: Sequence[Example]) -> MicroBatch:
    """Return ``examples`` as one micro-batch.

    The last token of a row is predicted but predicts nothing itself, so it is not among the ids. A token of weight 0 is among the
    ids but not among the targets.
    """
    length = padded_length(max(len(example.ids) - 1 for example in examples))
    ids = np.zeros((len(examples), length), np.int32)
    where, targets, weights = [], [], []
    for row, example in enumerate(examples):
        ids[row, : len(example.ids) - 1] = example.ids[:-1]
        n = len(example.ids) - example.start
        row_weights = np.array(example.weights or (1.0,) * n, np.float32)
        supervised = np.flatnonzero(row_weights).astype(np.int32)
        where.append(row * length + example.start - 1 + supervised)
        targets.append(np.array(example.ids[example.start :], np.int32)[supervised])
        weights.append(row_weights[supervised])
    return MicroBatch(ids, np.concatenate(where), np.concatenate(targets), np.concatenate(weights))
