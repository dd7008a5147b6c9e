"""Test the contrast by which searching is judged: searching a failed program before resampling, against resampling at once.

For each model and in each half, it is one of the declared contrasts, and its p value is corrected together with theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.evaluation.arms import BLIND, SEARCH
from mlx_selfdebug.evaluation.contrasts import Contrast
from mlx_selfdebug.evaluation.statistics import LEVEL

FINDINGS = {
    "shown": "there is evidence that searching the failed code before resampling is better than resampling at once",
    "not shown": "there is no evidence that searching the failed code before resampling is better than resampling at once",
    "shown worse": "there is evidence that searching the failed code before resampling is worse than resampling at once",
}
"""The meaning of each verdict, as a clause of a sentence. It is followed by "for" and the models' names."""


@dataclass(frozen=True)
class Searching:
    """The contrast by which searching is judged, for one model in one half."""

    model: str
    solved: int
    """Problems solved when the failed code is searched first."""
    blind: int
    """Problems solved when the model resamples at once."""
    contrast: Contrast
    """The comparison of the two arms."""

    @property
    def verdict(self) -> str:
        """One of "shown", "not shown", "shown worse"."""
        return self.contrast.verdict

    def __str__(self) -> str:
        """Return the finding and the figures behind it, as one sentence."""
        finding, interval = FINDINGS[self.verdict], self.contrast.interval
        return (
            f"{finding[:1].upper()}{finding[1:]} for {self.model}: it solves {self.solved} of {self.contrast.n} problems where the "
            f"failed code is searched for edits and forks first, and {self.blind} where it resamples at once (95 % interval of the "
            f"difference: {100 * interval.low:+.1f} to {100 * interval.high:+.1f} points; exact McNemar test: "
            f"p = {self.contrast.p_holm:.2g}, corrected for all contrasts; evidence requires p to be at most {LEVEL})."
        )


def searching_in(contrasts: tuple[Contrast, ...], half: str, solved: Mapping[str, int]) -> tuple[Searching, ...]:
    """Return the contrast by which searching is judged, for every model that played both of its arms in ``half``.

    ``solved`` gives the number of problems solved, by the key of the arm, such as "base/blind".
    """
    return tuple(
        Searching(contrast.left.model, solved[contrast.left], solved[contrast.right], contrast)
        for contrast in contrasts
        if contrast.half == half and (contrast.left.arm, contrast.right.arm) == (SEARCH, BLIND)
    )
