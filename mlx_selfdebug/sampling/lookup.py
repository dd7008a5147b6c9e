"""Guess the next tokens of a completion by looking up its last ones in its prompt, which it may be copying.

Most of a repair is the failed program, which stands in its prompt. The tokens that were decoded last are found there again, and
what follows them is the guess. Nothing is computed here; the decoder checks a guess in one step.

    >>> guess([5, 6, 7, 8, 9, 1, 5, 6], most=3)
    [7, 8, 9]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LONGEST = 32
"""The largest number of last tokens that are compared."""
_SEAM = -1
"""What stands between two texts. It is no token, so no guess crosses it."""


def guess(tokens: Sequence[int], most: int, other: Sequence[int] = ()) -> list[int]:
    """Return at most ``most`` tokens that may follow ``tokens``: those after the place that agrees with the most last tokens.

    ``tokens`` are a prompt and its completion so far. They and the ``other`` text are looked through. Of several such places, the
    last one is taken. If the last token occurs nowhere else, the guess is empty.
    """
    known = np.array([*other, _SEAM, *tokens] if other else tokens, np.int64)
    places = np.flatnonzero(known[:-1] == known[-1])
    if not places.size or most < 1:
        return []
    after = int(_agreeing_most(known, places)[-1]) + 1
    # What follows may be the last tokens themselves, which then repeat.
    guessed: list[int] = known[after + np.arange(most) % (known.size - after)].tolist()
    return guessed[: guessed.index(_SEAM)] if _SEAM in guessed else guessed


def _agreeing_most(known: npt.NDArray[np.int64], places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return those of ``places`` that end with the most last tokens of ``known``, in the same order."""
    for back in range(1, LONGEST):
        inside = places[places >= back]
        agreeing = inside[known[inside - back] == known[-1 - back]]
        if not agreeing.size:
            break
        places = agreeing
    return places
