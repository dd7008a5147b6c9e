"""An attempt: one completion of a model on a task, and what the tests said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlx_selfdebug.notebook import Shown
from mlx_selfdebug.values.verdict import Verdict

Kind = Literal["draft", "repair", "edits", "fork", "given"]
"""How an attempt was made: drafted from the statement; asked for with a failed program and its facts; found by trying small edits
of a failed program; completed by the model from a surprising place of a failed program. A "given" one was not made but found: a
program that is wrong, for the others to be made of."""


@dataclass(frozen=True)
class Attempt(Shown):
    """Natural key: (task_id, arm, sample, round). ``parent`` is the id of the attempt this one was made of, "" for a draft.

    ``kind`` says how. ``n_read_tokens`` counts the tokens of given programs that the model read to make it, and ``n_tries`` the
    edits that were run; neither was decoded. ``public`` is the verdict on the checks a model may see, ``verdict`` the one on the
    hidden checks, which scores. ``prompt`` is the message given to the model, ``completion`` its raw text, ``code`` what was taken
    from it and tested, ``tidied`` the names of the steps that took it out.
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
    kind: Kind = "draft"
    n_read_tokens: int = 0
    n_tries: int = 0

    @property
    def id(self) -> str:
        return attempt_id(self.arm, self.task_id, self.sample, self.round)

    @property
    def passed(self) -> bool:
        """Right on the hidden checks."""
        return self.verdict.passed

    def to_record(self) -> dict[str, Any]:
        """Flat, for a table or a data frame; verdicts by their outcomes and counts."""
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
