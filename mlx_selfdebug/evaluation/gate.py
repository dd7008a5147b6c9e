"""Decide whether an adapter is recommended, by its results on training tasks that were held back from it.

The decision is made before any other figure is looked at. The adapter must solve at least as many problems as the base with its
first drafts. It must also repair more than the base, counting own failures and the bugs put into those tasks together. If it does
not, the base is recommended, and the adapter is kept and marked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """The results of base and adapter on the tasks that were held back. All pairs of numbers are (base, adapter)."""

    first: tuple[int, int]
    """Problems solved by the first drafts."""
    repaired: tuple[int, int]
    """Problems solved after repair with facts."""
    n: int
    """The number of tasks that were held back."""
    bugs: tuple[int, int] = (0, 0)
    """Bugs repaired, among those that were put into these tasks."""
    n_bugs: int = 0
    """The number of bugs that were put into these tasks."""

    @property
    def passed(self) -> bool:
        """Whether the adapter is recommended."""
        base, adapter = (own + bugs for own, bugs in zip(self.repaired, self.bugs, strict=True))
        return self.first[1] >= self.first[0] and adapter > base

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and ``passed``, for JSON."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        """Return the recommendation and the figures behind it, as sentences."""
        text = (
            f"Recommended: the {'adapter' if self.passed else 'base'}. On {self.n} training tasks that were held back, base and "
            f"adapter solve {self.first[0]} and {self.first[1]} with their first drafts, and {self.repaired[0]} and "
            f"{self.repaired[1]} after repair."
        )
        if self.n_bugs:
            bugs = "1 bug" if self.n_bugs == 1 else f"{self.n_bugs} bugs"
            text += f" Of {bugs} put into these tasks they repair {self.bugs[0]} and {self.bugs[1]}."
        return text
