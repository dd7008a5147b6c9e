"""What searching is judged by: a failed program searched before the model draws afresh, against drawing afresh at once.

It is one of the declared contrasts and corrected with them, for each model and in each half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.evaluation.arms import BLIND, SEARCH
from mlx_selfdebug.evaluation.contrasts import Contrast
from mlx_selfdebug.evaluation.statistics import LEVEL


@dataclass(frozen=True)
class Searching:
    """Problems that ``model`` solves when it searches first, and when it tries again at once, of ``contrast.n``."""

    model: str
    solved: int
    blind: int
    contrast: Contrast

    @property
    def verdict(self) -> str:
        return self.contrast.verdict

    def __str__(self) -> str:
        n, p, low, high = self.contrast.n, self.contrast.p_holm, self.contrast.interval.low, self.contrast.interval.high
        return (
            f"{self.verdict.capitalize()}: the {self.model} solves {self.solved} of {n} where the failed code is searched for "
            f"edits and forks before it drafts afresh, and {self.blind} where it drafts afresh at once (95 %: {100 * low:+.1f} to "
            f"{100 * high:+.1f} points; exact McNemar p = {p:.2g}, corrected for all contrasts; shown takes it below {LEVEL})."
        )


def searching_in(contrasts: tuple[Contrast, ...], half: str, solved: Mapping[str, int]) -> tuple[Searching, ...]:
    """One a model that played both arms; ``solved`` is by "model/arm"."""
    return tuple(
        Searching(one.left.partition("/")[0], solved[one.left], solved[one.right], one)
        for one in contrasts
        if one.half == half and one.left.endswith(f"/{SEARCH}") and one.right.endswith(f"/{BLIND}")
    )
