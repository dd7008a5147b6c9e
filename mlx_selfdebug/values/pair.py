"""A pair: what the model is shown and what it should say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mlx_selfdebug.notebook import Shown

PairKind = Literal["repair", "bug", "direct", "keep"]
KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True)
class Pair(Shown):
    """One thing to learn: the message ``prompt`` is to be answered with the completion ``target``.

    ``attempts`` are the ids of the attempts it was made of: of a repair or bug pair the failed one first, then the right one, where
    that is not the task's reference.

    repair: the model's own failed code and its facts -> the nearest right code. bug: right code with a bug put in and its facts ->
    right code. direct: task -> right code. keep: right code -> itself.
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
