"""Guess the next tokens of a completion by looking up its last ones in its prompt, which it may be copying.

Most of a repair is the failed program, which stands in its prompt. The tokens that were decoded last are found there again, and
what follows them is the guess. Nothing is computed here; the decoder checks a guess in one step.

    >>> lookup = Lookup([5, 6, 7, 8, 9, 1, 5, 6])
    >>> lookup.guess(3)
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


class Lookup:
    """A completion's prompt, all of its tokens so far, and another text to copy from if there is one.

    ``tokens`` are those from the beginning of the prompt on. ``other`` is looked through as well.
    """

    def __init__(self, tokens: Sequence[int], other: Sequence[int] = ()) -> None:
        head = [*other, _SEAM] if other else []
        self._all: npt.NDArray[np.int64] = np.array([*head, *tokens], np.int64)
        self._size = self._all.size
        self._next = 0

    def add(self, tokens: Sequence[int]) -> None:
        """Add ``tokens`` to the end of the completion."""
        if self._size + len(tokens) > self._all.size:
            self._all = np.concatenate([self._all, np.full(self._all.size + len(tokens), _SEAM)])
        self._all[self._size : self._size + len(tokens)] = tokens
        self._size += len(tokens)

    def guess(self, most: int) -> list[int]:
        """Return at most ``most`` tokens that may come next: those after the place that agrees with the most last tokens.

        Of several such places, the first that the previous guess has not passed yet is taken, or else the last one. Returns [] if
        the last token occurs nowhere else.
        """
        known = self._all[: self._size]
        places = np.flatnonzero(known[:-1] == known[-1])
        if not places.size or most < 1:
            return []
        longest = self._agreeing_most(places)
        ahead = longest[longest >= self._next]
        place = self._next = int(ahead[0] if ahead.size else longest[-1]) + 1
        # What follows may be the last tokens themselves, which then repeat.
        guess: list[int] = known[place + np.arange(most) % (self._size - place)].tolist()
        return guess[: guess.index(_SEAM)] if _SEAM in guess else guess

    def _agreeing_most(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return those of ``places`` before which the most tokens are the last ones, in the same order."""
        end = self._size - 1
        for back in range(1, LONGEST):
            inside = places[places >= back]
            agreeing = inside[self._all[inside - back] == self._all[end - back]]
            if not agreeing.size:
                break
            places = agreeing
        return places
