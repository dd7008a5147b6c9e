"""Define ``Attempt``: one completion of a model on a task, and the verdicts of its tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlx_selfdebug.notebook import Shown
from mlx_selfdebug.values.verdict import Verdict

Kind = Literal["draft", "repair", "edits", "fork", "given"]
"""How an attempt was made.

- draft: the model answered the task's statement.
- repair: the model answered a failed program and its facts.
- edits: a search tried small edits of a failed program.
- fork: the model completed a failed program from a place that surprised it.
- given: nothing made the attempt. It is a wrong program that was given, and other attempts are made from it.
"""


@dataclass(frozen=True)
class Attempt(Shown):
    """One completion of a model on a task, with the code that was taken from it and its verdicts.

    The natural key of an attempt is (task_id, arm, sample, round).
    """

    task_id: str
    arm: str
    sample: int
    round: int
    parent: str
    """The id of the attempt that this one was made from, or empty for a draft."""
    prompt: str
    """The message that was given to the model."""
    completion: str
    """The raw text of the model's reply."""
    code: str
    """The code that was taken from the completion and tested."""
    verdict: Verdict
    """The verdict on the hidden checks, which scores."""
    public: Verdict
    """The verdict on the checks that a model may see."""
    n_prompt_tokens: int
    n_completion_tokens: int
    seed: int
    finish: str
    """Why the completion ended."""
    tidied: tuple[str, ...] = ()
    """The names of the steps that took the code out of the completion."""
    kind: Kind = "draft"
    n_read_tokens: int = 0
    """The number of tokens of given programs that the model read to make this attempt. They were not decoded."""
    n_tries: int = 0
    """The number of edits that were run to make this attempt. They were not decoded either."""
    tokens: tuple[int, ...] = ()
    """The tokens that were decoded, where they are to be learned from (rewards). Elsewhere they are not kept."""

    @property
    def id(self) -> str:
        return attempt_id(self.arm, self.task_id, self.sample, self.round)

    @property
    def passed(self) -> bool:
        """Return whether the code passed the hidden checks."""
        return self.verdict.passed

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame. Verdicts appear as their outcomes and counts."""
        return {
            "task_id": self.task_id,
            "arm": self.arm,
            "sample": self.sample,
            "round": self.round,
            "kind": self.kind,
            "parent": self.parent,
            "outcome": self.verdict.outcome,
            "passed": self.passed,
            "public_outcome": self.public.outcome,
            "public_passed": self.public.passed,
            "n_passed": self.verdict.n_passed,
            "n_checks": self.verdict.n_checks,
            "n_prompt_tokens": self.n_prompt_tokens,
            "n_completion_tokens": self.n_completion_tokens,
            "n_read_tokens": self.n_read_tokens,
            "n_tries": self.n_tries,
            "finish": self.finish,
            "tidied": " ".join(self.tidied),
            "wall_s": self.verdict.wall_s,
            "cpu_s": self.verdict.cpu_s,
            "peak_bytes": self.verdict.peak_bytes,
            "seed": self.seed,
            "code": self.code,
            "completion": self.completion,
            "prompt": self.prompt,
        }

    def __repr__(self) -> str:
        return f"Attempt({self.id!r}, {self.verdict.outcome})"


def attempt_id(arm: str, task_id: str, sample: int, round_: int) -> str:
    return f"{arm}:{task_id}:{sample}:{round_}"
