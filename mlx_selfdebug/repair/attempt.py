"""An attempt: one completion of a model on a task, and what the tests said of it."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.sandbox.verdict import Verdict


@dataclass(frozen=True)
class Attempt:
    """Natural key: (task_id, arm, sample, round). ``parent`` is the id of the attempt this one repairs, "" for a draft.

    ``public`` is the verdict on the checks a model may see, ``verdict`` the one on the hidden checks, which scores.
    ``prompt`` is the message given to the model, ``completion`` its raw text, ``code`` what was taken from it and tested,
    ``tidied`` the names of the steps that took it out.
    """

    task_id: str
    arm: str
    sample: int
    round: int
    parent: str
    prompt: str
    completion: str
    code: str
    verdict: Verdict
    public: Verdict
    n_prompt_tokens: int
    n_completion_tokens: int
    seed: int
    finish: str
    tidied: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return attempt_id(self.arm, self.task_id, self.sample, self.round)

    @property
    def passed(self) -> bool:
        """Right on the hidden checks."""
        return self.verdict.passed

    def __repr__(self) -> str:
        return f"Attempt({self.id!r}, {self.verdict.outcome})"


def attempt_id(arm: str, task_id: str, sample: int, round_: int) -> str:
    return f"{arm}:{task_id}:{sample}:{round_}"
