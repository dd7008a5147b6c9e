"""Group examples into optimizer steps, and the examples of a step into micro-batches, which are computed one after the other.

Every example occurs once per epoch. The last step of an epoch may have fewer examples than the others. The order depends only on
the seed and the epoch, so a resumed training continues with the examples that an uninterrupted one would have had. The rows of a
micro-batch have similar lengths and are padded at their end to one of a few lengths. Padding is never supervised.
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
"""The shortest padded length, in tokens."""
LENGTHS_PER_OCTAVE = 4
"""The number of padded lengths from one power of two to the next."""


@dataclass(frozen=True)
class BaseRows:
    """The rows on which the base is read in order to imitate it: the prompts of the tasks alone, with the same completions."""

    ids: npt.NDArray[np.int32]
    """The tokens, of shape (rows, length), padded with 0 at the end of each row."""
    positions: npt.NDArray[np.int32]
    """The positions in the flattened ``ids`` that predict the supervised tokens of the micro-batch, of shape (supervised,).

    The position of a token at which the base is not imitated is 0 and means nothing.
    """
    imitated: npt.NDArray[np.float32]
    """1 for each supervised token at which the base is imitated, and 0 for the others, of shape (supervised,)."""


@dataclass(frozen=True)
class MicroBatch:
    """Rows of tokens that are computed together."""

    ids: npt.NDArray[np.int32]
    """The tokens, of shape (rows, length), padded with 0 at the end of each row."""
    positions: npt.NDArray[np.int32]
    """The positions in the flattened ``ids`` that predict a supervised token, of shape (supervised,)."""
    targets: npt.NDArray[np.int32]
    """The supervised tokens, of shape (supervised,)."""
    weights: npt.NDArray[np.float32]
    """The weights of the targets in the loss, of shape (supervised,)."""
    base: BaseRows | None = None
    """The rows on which the base is read, or None if it is not imitated in this micro-batch."""

    @property
    def n_tokens(self) -> int:
        """The number of tokens that are computed, including padding."""
        return int(self.ids.size)


def steps_of(examples: Sequence[T], batch_size: int, epochs: int, seed: int) -> Iterator[list[T]]:
    """Yield the examples of each optimizer step, in the order of all epochs."""
    for epoch in range(epochs):
        order = list(examples)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def micro_batches(examples: Sequence[Example], max_tokens: int, *, rounded: bool = True) -> list[MicroBatch]:
    """Return ``examples`` in micro-batches of rows of similar length.

    A micro-batch has at most ``max_tokens`` tokens, including padding. A single row that is longer is computed alone. If
    ``rounded``, rows are padded to one of a few lengths (``padded_length``), and otherwise only to the longest row of their
    micro-batch.
    """
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda e: len(e.ids)):
        length = len(example.ids) - 1
        length = padded_length(length) if rounded else length
        if batches and (len(batches[-1]) + 1) * length <= max_tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
    return [_micro_batch(batch, rounded=rounded) for batch in batches]


def padded_length(length: int) -> int:
    """Return ``length`` rounded up to one of 32, 40, 48, 56, 64, 80, ... tokens.

    There are only a few lengths, so that few shapes are ever compiled. They are spaced so that padding adds at most a quarter.
    """
    if length <= MIN_PADDED_LENGTH:
        return MIN_PADDED_LENGTH
    octave = 1 << ((length - 1).bit_length() - 1)  # the largest power of two below the length
    step = octave // LENGTHS_PER_OCTAVE
    return -(-length // step) * step  # rounded up to a multiple of the step


def _micro_batch(examples: Sequence[Example], *, rounded: bool) -> MicroBatch:
    """Return ``examples`` as one micro-batch.

    The last token of a row is predicted but predicts nothing itself, so it is not among the ids. A token of weight 0 is among the
    ids but not among the targets.
    """
    ids = _padded([example.ids for example in examples], rounded=rounded)
    positions, targets, weights = [], [], []
    for row, example in enumerate(examples):
        supervised = _supervised(example)
        positions.append(row * ids.shape[1] + example.start - 1 + supervised)
        targets.append(np.array(example.completion, np.int32)[supervised])
        weights.append(_weights(example)[supervised])
    return MicroBatch(
        ids, np.concatenate(positions), np.concatenate(targets), np.concatenate(weights), _base_rows(examples)
    )


def _base_rows(examples: Sequence[Example]) -> BaseRows | None:
    """Return the rows on which the base is read, with one position per supervised token of all ``examples``."""
    imitating = [example for example in examples if example.base_prompt]
    if not imitating:
        return None
    ids = _padded([(*example.base_prompt, *example.completion) for example in imitating])
    positions, imitated = [], []
    row = 0
    for example in examples:
        supervised = _supervised(example)
        imitated.append(np.full(supervised.size, bool(example.base_prompt), np.float32))
        if example.base_prompt:
            positions.append(row * ids.shape[1] + len(example.base_prompt) - 1 + supervised)
            row += 1
        else:
            positions.append(np.zeros_like(supervised))
    return BaseRows(ids, np.concatenate(positions), np.concatenate(imitated))


def _weights(example: Example) -> npt.NDArray[np.float32]:
    """Return the weight of each token of the completion."""
    return np.array(example.weights or (1.0,) * len(example.completion), np.float32)


def _supervised(example: Example) -> npt.NDArray[np.int32]:
    """Return the indices of the supervised tokens in the completion."""
    return np.flatnonzero(_weights(example)).astype(np.int32)


def _padded(rows: Sequence[Sequence[int]], *, rounded: bool = True) -> npt.NDArray[np.int32]:
    """Return the rows without their last tokens, which predict nothing, padded at their end."""
    longest = max(len(row) - 1 for row in rows)
    ids = np.zeros((len(rows), padded_length(longest) if rounded else longest), np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row) - 1] = row[:-1]
    return ids
