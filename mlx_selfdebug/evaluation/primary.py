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
Opponents = Literal["both", "itself", "the base", "neither"]
"""The opponents that the adapter beats or, if the conclusion is "shown worse", those that beat it."""
CLAIMS: dict[tuple[Conclusion, Opponents], str] = {
    ("shown", "both"): "the trained model repairs better than it resamples and than the base resamples",
    ("not shown", "itself"): (
        "the trained model repairs better than the base resamples, only that it repairs better than it resamples itself"
    ),
    ("not shown", "the base"): (
        "the trained model repairs better than it resamples itself, only that it repairs better than the base resamples"
    ),
    ("not shown", "neither"): "the trained model repairs better than it resamples or than the base resamples",
    ("shown worse", "both"): "the trained model repairs worse than it resamples and than the base resamples",
    ("shown worse", "itself"): "the trained model repairs worse than it resamples",
    ("shown worse", "the base"): "the trained model repairs worse than the base resamples",
}
"""What there is evidence of or, if the conclusion is "not shown", no evidence of."""


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

    @property
    def is_beaten(self) -> bool:
        """Whether the adapter solves more problems than the opponent, tested at ``LEVEL``."""
        return self.won_by_adapter > self.lost_by_adapter and self.p <= LEVEL

    @property
    def wins(self) -> bool:
        """Whether the opponent solves more problems than the adapter, tested at half of ``LEVEL``."""
        return self.lost_by_adapter > self.won_by_adapter and self.p <= LEVEL / 2


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
        ours = set(repaired)

        def opponent(solved: Collection[str]) -> Opponent:
            theirs = set(solved)
            return Opponent(solved=len(theirs), won_by_adapter=len(ours - theirs), lost_by_adapter=len(theirs - ours))

        return cls(len(ours), n, base=opponent(base_blind), adapter=opponent(adapter_blind))

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
        if all(opponent.is_beaten for opponent in (self.base, self.adapter)):
            return "shown"
        return "shown worse" if self.base.wins or self.adapter.wins else "not shown"

    @property
    def opponents(self) -> Opponents:
        """The opponents that the claim names: those that are beaten or, if the verdict is "shown worse", those that win."""
        if self.verdict == "shown worse":
            names_base, names_itself = self.base.wins, self.adapter.wins
        else:
            names_base, names_itself = self.base.is_beaten, self.adapter.is_beaten
        if names_base and names_itself:
            return "both"
        if names_base:
            return "the base"
        return "itself" if names_itself else "neither"

    @property
    def claim(self) -> str:
        """What there is evidence of or, if the verdict is "not shown", no evidence of: a clause that begins in lower case.

        A gain over one opponent alone is named, but it is no gain by the rule of ``verdict``. The test behind it is not corrected
        for there being two of them.
        """
        return CLAIMS[self.verdict, self.opponents]

    @property
    def finding(self) -> str:
        """The claim, and whether there is evidence of it, as a clause that begins in lower case."""
        return f"there is {'no ' if self.verdict == 'not shown' else ''}evidence that {self.claim}"

    def __str__(self) -> str:
        """Return the finding and the figures behind it, as one sentence."""
        p_values = " and ".join(f"{p:.2g}" for p in self.p_values)
        return (
            f"{self.finding[:1].upper()}{self.finding[1:]}: repairing with facts, the adapter solves {self.solved} of {self.n} "
            f"problems; resampling, the base solves {self.base.solved} and the adapter {self.adapter.solved} (exact McNemar test: "
            f"p = {p_values}; evidence of a gain requires both to be at most {LEVEL})."
        )
