"""A pair: what the model is shown and what it should say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mlx_selfdebug.notebook import Shown

PairKind = Literal["repair", "direct", "keep"]
KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True)
class Pair(Shown):
    """``prompt`` is the message, ``target`` the completion, ``attempts`` the ids of the attempts it was made from.

    repair: failed code + facts -> the nearest passing code. direct: task -> own passing code. keep: passing code -> itself.
    """

    kind: PairKind
    domain: str
    task_id: str
    prompt: str
    target: str
    attempts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_record(self) -> dict[str, Any]:
        """Flat, for a table or a data frame."""
        return {**self.to_dict(), "attempts": " ".join(self.attempts)}
