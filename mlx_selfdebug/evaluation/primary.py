"""Test the one contrast by which training is judged: the adapter repairing with facts against resampling, at equal tokens.

The adapter's repairs must beat two opponents, each in an exact McNemar test over problems: the base and the adapter itself, both
resampling (the arm ``blind``). Demanding both, which is an intersection-union test (Berger 1982), keeps the rate of false alarms
at or below the level of one test. Picking the better of the two opponents on the same problems would not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mlx_selfdebug.evaluation.statistics import LEVEL, mcnemar

Conclusion = Literal["shown", "not shown", "shown worse"]
"""What the two tests say together: a gain over both opponents, a loss to at least one of them, or neither."""
FINDINGS: dict[Conclusion, str] = {
    "shown": "there is evidence that the trained model repairs better than it resamples and than the base resamples",
    "not shown": "there is no evidence that the trained model repairs better than it resamples",
    "shown worse": "there is evidence that the trained model repairs worse than it resamples or than the base resamples",
}
"""What each verdict means, as a clause of a sentence."""


class Opponent(NamedTuple):
    """The numbers of problems in the comparison of the adapter with one opponent."""

    solved: int
    """Problems that the opponent solves by resampling."""
    won_by_adapter: int
    """Problems that the adapter solves by repairing with facts and the opponent does not solve."""
    lost_by_adapter: int
    """Problems that the opponent solves and the adapter does not solve by repairing with facts."""

    @property
    def p(self) -> float:
        """The p value of the exact McNemar test."""
        return mcnemar(self.won_by_adapter, self.lost_by_adapter)


@dataclass(frozen=True)
class Primary:
    """The primary contrast on one half of the evaluation (the model's own failures, or bugs)."""

    solved: int
    """Problems that the adapter solves by repairing with facts."""
    n: int
    """The number of all problems of the half."""
    base: Opponent
    """The comparison with the base resampling."""
    adapter: Opponent
    """The comparison with the adapter itself resampling."""

    @classmethod
    def of(
        cls, repaired: Collection[str], base_blind: Collection[str], adapter_blind: Collection[str], n: int
    ) -> Primary:
        """Count wins and losses from the ids of the tasks that each side solves.

        ``repaired`` are the tasks that the adapter solves by repairing with facts, ``base_blind`` and ``adapter_blind`` those that
        the opponents solve by resampling, and ``n`` is the number of all tasks.
        """
        ours, opponents = set(repaired), (set(base_blind), set(adapter_blind))
        base, adapter = (Opponent(len(ids), len(ours - ids), len(ids - ours)) for ids in opponents)
        return cls(len(ours), n, base, adapter)

    @property
    def p_values(self) -> tuple[float, float]:
        """The p values of the tests against the base and against the adapter itself."""
        return self.base.p, self.adapter.p

    @property
    def verdict(self) -> Conclusion:
        """What both tests say together.

        "shown" requires a gain over both opponents, each tested at ``LEVEL``. "shown worse" requires a loss to one of them, each
        tested at half of ``LEVEL``.
        """
        opponents = (self.base, self.adapter)
        if all(o.won_by_adapter > o.lost_by_adapter and o.p <= LEVEL for o in opponents):
            return "shown"
        if any(o.lost_by_adapter > o.won_by_adapter and o.p <= LEVEL / 2 for o in opponents):
            return "shown worse"
        return "not shown"

    def __str__(self) -> str:
        """Return the finding and the figures behind it, as one sentence."""
        finding = FINDINGS[self.verdict]
        p_values = " and ".join(f"{p:.2g}" for p in self.p_values)
        return (
            f"{finding[:1].upper()}{finding[1:]}: repairing with facts, the adapter solves {self.solved} of {self.n} problems; "
            f"resampling, the base solves {self.base.solved} and the adapter {self.adapter.solved} (exact McNemar test: "
            f"p = {p_values}; evidence of a gain requires both to be at most {LEVEL})."
        )
