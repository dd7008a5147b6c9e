"""Define ``Pair``: what the model is shown in training, and what it should answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mlx_selfdebug.notebook import Shown

PairKind = Literal["repair", "bug", "direct", "keep"]
KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True)
class Pair(Shown):
    """One example to learn from: a message, and the completion that should answer it.

    A pair has one of these kinds:

    - repair: the prompt shows the model's own failed code and its facts, and the target is the nearest right code.
    - bug: the prompt shows right code with a bug put in and its facts, and the target is right code.
    - direct: the prompt is the task, and the target is right code.
    - keep: the prompt shows right code, and the target is the same code.
    """

    kind: PairKind
    domain: str
    task_id: str
    prompt: str
    target: str
    """The completion that is learned."""
    attempts: tuple[str, ...]
    """The ids of the attempts that the pair was made from.

    For a repair or bug pair, the failed attempt comes first, then the right one unless the target is the task's reference.
    """
    task_prompt: str = ""
    """The message that asks for the task alone. It is "" for a keep pair, whose target is right because of what it is shown."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame."""
        return {**self.to_dict(), "attempts": " ".join(self.attempts)}
