"""Whether an adapter is to be recommended: on training tasks that were held back from it, before any other figure is looked at.

It must draft no worse than the base and repair better. An adapter that does not is kept and marked, and the base is recommended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_selfdebug.evaluation.result import ModelResult


@dataclass(frozen=True)
class Gate:
    """Problems solved by the first draft and after repair with facts, of ``n`` held-back tasks, each (base, adapter)."""

    first: tuple[int, int]
    repaired: tuple[int, int]
    n: int

    @property
    def passed(self) -> bool:
        return self.first[1] >= self.first[0] and self.repaired[1] > self.repaired[0]

    @classmethod
    def of(cls, base: ModelResult, adapter: ModelResult) -> Gate:
        first = base.first_pass.problems[0], adapter.first_pass.problems[0]
        repaired = base.after_repair.problems[0], adapter.after_repair.problems[0]
        return cls(first, repaired, base.first_pass.problems[1])

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Gate:
        return cls(tuple(data["first"]), tuple(data["repaired"]), data["n"])

    def __str__(self) -> str:
        told = (
            f"on {self.n} training tasks that were held back, base and adapter solve {self.first[0]} and {self.first[1]} with "
            f"their first draft, {self.repaired[0]} and {self.repaired[1]} after repair"
        )
        return f"Recommended: the {'adapter' if self.passed else 'base'}; {told}."
