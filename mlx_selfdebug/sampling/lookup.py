"""Guess the next tokens of a completion by looking up its last tokens in its prompt, which it may be copying.

Most of a repair repeats the failed program, which is in its prompt. The tokens that were decoded last are looked up there, and the
tokens that follow them are the guess. The model is not used here; the decoder checks a guess in one step.

    >>> guess([5, 6, 7, 8, 9, 1, 5, 6], max_guesses=3)
    [7, 8, 9]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_COMPARED = 32
"""The maximum number of last tokens that are compared."""
_SEPARATOR = -1
"""Stands between two texts. It is not the id of a token, so a guess never continues from one text into the other."""


def guess(tokens: Sequence[int], max_guesses: int, other: Sequence[int] = ()) -> list[int]:
    """Return at most ``max_guesses`` tokens that may follow ``tokens``, which are a prompt and its completion so far.

    The last tokens are looked up in ``tokens`` themselves and in the text ``other``. The guess is what follows the place that
    agrees with as many of them as possible, or the last such place if there are several. If the last token occurs nowhere else,
    the guess is empty.
    """
    text = np.array([*other, _SEPARATOR, *tokens] if other else tokens, np.int64)
    places = np.flatnonzero(text[:-1] == text[-1])
    if not places.size or max_guesses < 1:
        return []
    start = int(_longest_matches(text, places)[-1]) + 1
    # If the guess reaches the end of the text, it goes on from its own start: a text that repeats itself keeps repeating.
    guessed: list[int] = text[start + np.arange(max_guesses) % (text.size - start)].tolist()
    return guessed[: guessed.index(_SEPARATOR)] if _SEPARATOR in guessed else guessed


def _longest_matches(text: npt.NDArray[np.int64], places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the places at which the longest matches with the last tokens of ``text`` end, in ascending order.

    ``places`` are the places that match the last token.
    """
    for distance in range(1, MAX_COMPARED):
        candidates = places[places >= distance]
        matching = candidates[text[candidates - distance] == text[-1 - distance]]
        if not matching.size:
            break
        places = matching
    return places
