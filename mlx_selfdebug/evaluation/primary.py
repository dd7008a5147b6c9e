"""Test the one contrast that training is judged by: the adapter repairing with facts against resampling, at equal tokens.

The adapter must beat both the base and itself resampling (the arm ``blind``), each by an exact McNemar test over problems.
Demanding both, which is an intersection-union test (Berger 1982), keeps the rate of false alarms below the level of one test.
Picking the better of the two opponents on the same problems would not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mlx_selfdebug.evaluation.statistics import LEVEL, mcnemar

FINDINGS = {
    "shown": "there is evidence that the trained model repairs better than it resamples and than the base resamples",
    "not shown": "there is no evidence that the trained model repairs better than it resamples",
    "shown worse": "there is evidence that the trained model repairs worse than it resamples or than the base resamples",
}
"""What each verdict means, as a clause of a sentence."""


@dataclass(frozen=True)
class Primary:
    """The primary contrast of one half: the numbers of problems that both of its tests compare."""

    solved: int
    """Problems that the adapter solves by repairing with facts."""
    n: int
    """All problems."""
    base: tuple[int, int, int]
    """Problems that the base solves by resampling, then the wins and the losses of the adapter's repairs against it."""
    adapter: tuple[int, int, int]
    """The same three numbers against the adapter itself resampling."""

    @classmethod
    def of(cls, facts: Collection[str], base_blind: Collection[str], adapter_blind: Collection[str], n: int) -> Primary:
        """Count wins and losses from the ids of the tasks that each side solves, of ``n`` tasks."""
        repaired, opponents = set(facts), (set(base_blind), set(adapter_blind))
        base, adapter = ((len(other), len(repaired - other), len(other - repaired)) for other in opponents)
        return cls(len(repaired), n, base, adapter)

    @property
    def p_values(self) -> tuple[float, float]:
        """The p values of the tests against the base and against the adapter itself."""
        return mcnemar(self.base[1], self.base[2]), mcnemar(self.adapter[1], self.adapter[2])

    @property
    def verdict(self) -> str:
        """One of "shown", "not shown", "shown worse".

        "shown" requires a gain over both opponents, "shown worse" a loss to one of them, each tested at half the level.
        """
        opponents = list(zip((self.base, self.adapter), self.p_values, strict=True))
        if all(won > lost and p <= LEVEL for (_, won, lost), p in opponents):
            return "shown"
        if any(lost > won and p <= LEVEL / 2 for (_, won, lost), p in opponents):
            return "shown worse"
        return "not shown"

    def __str__(self) -> str:
        finding = FINDINGS[self.verdict]
        p_values = " and ".join(f"{p:.2g}" for p in self.p_values)
        return (
            f"{finding[:1].upper()}{finding[1:]}: repairing with facts, the adapter solves {self.solved} of {self.n} problems; "
            f"resampling, the base solves {self.base[0]} and the adapter {self.adapter[0]} (exact McNemar test: p = {p_values}; "
            f"evidence of a gain requires both to be at most {LEVEL})."
        )
