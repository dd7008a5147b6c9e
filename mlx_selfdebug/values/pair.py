"""Define ``Pair``: a prompt, and the completion that the model learns to give for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mlx_selfdebug.notebook import Shown

PairKind = Literal["repair", "bug", "direct", "keep"]
KINDS: tuple[PairKind, ...] = get_args(PairKind)


@dataclass(frozen=True)
class Pair(Shown):
    """One example to learn from: a prompt, and the completion that should answer it."""

    kind: PairKind
    """What the prompt shows, and what the target is.

    - repair: the prompt shows the model's own failed code with the facts of its failed checks. The target is the nearest right
      code, or another right draft of the model (``train.minimal_share`` decides how often).
    - bug: the prompt shows code into which a bug was put, with the facts of its failed checks. The target is right code.
    - direct: the prompt is the task alone. The target is right code.
    - keep: the prompt shows right code. The target is the same code.
    """
    domain: str
    """The name of the task's domain."""
    task_id: str
    prompt: str
    """The message to the model."""
    target: str
    """The completion that is learned."""
    attempts: tuple[str, ...]
    """The ids of the attempts that the pair was made from.

    For a repair or bug pair, the failed attempt comes first, then the right one unless the target is the task's reference.
    """
    task_prompt: str = ""
    """The message that asks for a draft of the task. It is empty for a keep pair, whose target depends on the code it shows."""

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as a dictionary with a key per field."""
        return asdict(self)

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame. The ids of the attempts are joined by spaces."""
        return {**self.to_dict(), "attempts": " ".join(self.attempts)}
