"""Whether an adapter is to be recommended: on training tasks that were held back from it, before any other figure is looked at.

It must draft no worse than the base and repair better, its own failures and bugs put into those tasks taken together. An adapter
that does not is kept and marked, and the base is recommended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """Problems solved by the first draft and after repair with facts, of ``n`` held-back tasks, each (base, adapter).

    ``bugs`` are those repaired of ``n_bugs`` that were put into these tasks.
    """

    first: tuple[int, int]
    repaired: tuple[int, int]
    n: int
    bugs: tuple[int, int] = (0, 0)
    n_bugs: int = 0

    @property
    def passed(self) -> bool:
        base, adapter = (own + bugs for own, bugs in zip(self.repaired, self.bugs, strict=True))
        return self.first[1] >= self.first[0] and adapter > base

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Gate:
        """Of a run of before it has no bugs."""
        bugs = tuple(data.get("bugs", (0, 0)))
        return cls(tuple(data["first"]), tuple(data["repaired"]), data["n"], bugs, data.get("n_bugs", 0))

    def __str__(self) -> str:
        told = (
            f"on {self.n} training tasks that were held back, base and adapter solve {self.first[0]} and {self.first[1]} with "
            f"their first draft, {self.repaired[0]} and {self.repaired[1]} after repair"
        )
        if self.n_bugs:
            bugs = "1 bug" if self.n_bugs == 1 else f"{self.n_bugs} bugs"
            told += f"; of {bugs} put into these tasks they repair {self.bugs[0]} and {self.bugs[1]}"
        return f"Recommended: the {'adapter' if self.passed else 'base'}; {told}."
