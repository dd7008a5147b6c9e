"""Decide whether an adapter is recommended, by its results on training tasks that were held back from it.

The rule was fixed beforehand and uses no other figure. The adapter must meet two conditions:

1. It solves at least as many of these tasks as the base with its first drafts.
2. Its total is higher than the base's. The total is the tasks solved after repair (including by a first draft) plus the bugs
   repaired in these tasks.

If it fails either condition, the base is recommended. The adapter is kept, and its files are marked with the decision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """The results of base and adapter on the tasks that were held back. Each pair of numbers is (base, adapter)."""

    first: tuple[int, int]
    """Tasks solved by the first drafts."""
    repaired: tuple[int, int]
    """Tasks solved after repair with facts, including those that a first draft solved."""
    n: int
    """The number of tasks that were held back."""
    bugs: tuple[int, int] = (0, 0)
    """Bugs repaired, among those that were put into these tasks."""
    n_bugs: int = 0
    """The number of bugs that were put into these tasks."""

    @property
    def passed(self) -> bool:
        """Whether the adapter is recommended."""
        return not self.shortfalls

    @property
    def shortfalls(self) -> list[str]:
        """The conditions that the adapter fails to meet, each as a clause whose "it" is the adapter."""
        base_first, adapter_first = self.first
        base_repaired, adapter_repaired = self.repaired
        base_bugs, adapter_bugs = self.bugs
        shortfalls = []
        if adapter_first < base_first:
            shortfalls.append("it solves fewer tasks with its first drafts")
        if adapter_repaired + adapter_bugs <= base_repaired + base_bugs:
            more = "more after repair, tasks and bugs together" if self.n_bugs else "more tasks after repair"
            shortfalls.append(f"it does not solve {more}")
        return shortfalls

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and ``passed``, for JSON."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        """Return the recommendation and the figures behind it, as sentences. If the base is recommended, the last says why."""
        base_first, adapter_first = self.first
        base_repaired, adapter_repaired = self.repaired
        tasks = "1 training task that was" if self.n == 1 else f"{self.n} training tasks that were"
        text = (
            f"Recommended: the {'adapter' if self.passed else 'base'}. On {tasks} held back, base and "
            f"adapter solve {base_first} and {adapter_first} with their first drafts, and {base_repaired} and "
            f"{adapter_repaired} after repair."
        )
        if self.n_bugs:
            bugs = "1 bug" if self.n_bugs == 1 else f"{self.n_bugs} bugs"
            text += f" Of {bugs} put into these tasks they repair {self.bugs[0]} and {self.bugs[1]}."
        if self.shortfalls:
            text += f" The adapter is not recommended because {' and '.join(self.shortfalls)}."
        return text
