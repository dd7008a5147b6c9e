"""From examples to what a step computes: which pairs make an optimizer step, and in what rows they are computed.

Every example is in each epoch once, the last step of an epoch may be smaller. The order depends on the seed and the epoch alone, so
a resumed training goes on with the pairs it would have had. Rows of a micro-batch are of like length and padded at their end to one
of a few lengths; padding is never supervised.
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

SHORTEST_LENGTH = 32
STEPS_AN_OCTAVE = 4


@dataclass(frozen=True)
class MicroBatch:
    """Rows computed together: ids (rows, length), and of them the flat positions ``where`` (supervised,) that predict ``targets``.

    ``weights`` (supervised,) are the targets' weights in the loss.
    """

    ids: npt.NDArray[np.int32]
    where: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def n_tokens(self) -> int:
        """Computed tokens, padding included."""
        return int(self.ids.size)


def steps_of(examples: Sequence[T], batch_size: int, epochs: int, seed: int) -> Iterator[list[T]]:
    """The examples of each optimizer step, in order."""
    for epoch in range(epochs):
        order = list(examples)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def micro_batches(examples: Sequence[Example], most_tokens: int) -> list[MicroBatch]:
    """``examples`` in rows of like length, at most ``most_tokens`` padded tokens at a time (a longer row is computed alone)."""
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda e: len(e.ids)):
        length = padded_length(len(example.ids) - 1)
        if batches and (len(batches[-1]) + 1) * length <= most_tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
    return [_together(batch) for batch in batches]


def padded_length(length: int) -> int:
    """The next of 32, 40, 48, 56, 64, 80, ... tokens: four lengths an octave, so that few shapes are ever compiled."""
    if length <= SHORTEST_LENGTH:
        return SHORTEST_LENGTH
    octave = 1 << (length - 1).bit_length() - 1
    step = octave // STEPS_AN_OCTAVE
    return -(-length // step) * step


def _together(examples: Sequence[Example]) -> MicroBatch:
    """The last token of a row is predicted and never computed; a token without a weight is computed and never predicted."""
    length = padded_length(max(len(example.ids) - 1 for example in examples))
    ids = np.zeros((len(examples), length), np.int32)
    where, targets, weights = [], [], []
    for row, example in enumerate(examples):
        ids[row, : len(example.ids) - 1] = example.ids[:-1]
        n = len(example.ids) - example.start
        of_row = np.array(example.weights or (1.0,) * n, np.float32)
        supervised = np.flatnonzero(of_row).astype(np.int32)
        where.append(row * length + example.start - 1 + supervised)
        targets.append(np.array(example.ids[example.start :], np.int32)[supervised])
        weights.append(of_row[supervised])
    return MicroBatch(ids, np.concatenate(where), np.concatenate(targets), np.concatenate(weights))
