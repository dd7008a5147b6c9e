"""The one contrast a run is judged by: the adapter repairing with facts against trying again blindly, at equal tokens.

It must beat both the base and itself trying again, each by an exact McNemar test over problems. Demanding both (an
intersection-union test, Berger 1982) keeps the rate of false alarms below the level of one test, where picking the better of
the two on the same problems would not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mlx_selfdebug.evaluation.statistics import LEVEL, mcnemar


@dataclass(frozen=True)
class Primary:
    """Problems solved by the adapter with facts, and of each opponent: solved, won against it, lost to it."""

    solved: int
    n: int
    base: tuple[int, int, int]
    adapter: tuple[int, int, int]

    @classmethod
    def of(cls, facts: Collection[str], base_blind: Collection[str], adapter_blind: Collection[str], n: int) -> Primary:
        """From the tasks that each solves, of ``n``."""
        mine = set(facts)
        pairs = [(len(other), len(mine - other), len(other - mine)) for other in (set(base_blind), set(adapter_blind))]
        return cls(len(mine), n, pairs[0], pairs[1])

    @property
    def p_values(self) -> tuple[float, float]:
        return mcnemar(self.base[1], self.base[2]), mcnemar(self.adapter[1], self.adapter[2])

    @property
    def verdict(self) -> str:
        """One of "shown", "not shown", "shown worse": behind one of the opponents, at half the level for each."""
        opponents = list(zip((self.base, self.adapter), self.p_values, strict=True))
        if all(won > lost and p <= LEVEL for (_, won, lost), p in opponents):
            return "shown"
        if any(lost > won and p <= LEVEL / 2 for (_, won, lost), p in opponents):
            return "shown worse"
        return "not shown"

    def __str__(self) -> str:
        ps = " and ".join(f"{p:.2g}" for p in self.p_values)
        return (
            f"{self.verdict.capitalize()}: the adapter repairing with facts solves {self.solved} of {self.n}; trying again "
            f"blindly, the base {self.base[0]} and the adapter {self.adapter[0]} (exact McNemar p = {ps}; shown takes both "
            f"below {LEVEL})."
        )
