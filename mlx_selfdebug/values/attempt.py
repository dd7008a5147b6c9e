"""Define ``Attempt``: one completion of a model on a task, and the verdicts of its tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlx_selfdebug.notebook import Shown
from mlx_selfdebug.values.verdict import Verdict

Kind = Literal["draft", "repair", "edits", "fork", "given"]
"""How an attempt was made.

- draft: the model answered the task's statement.
- repair: the model was shown a failed program with the facts of its failed checks, and wrote the program again.
- edits: a search tried small edits of a failed program.
- fork: a failed program was kept up to one place, another token was put there, and the model wrote the rest, or one line, anew.
- given: the model did not make the attempt in this run. Its program came from elsewhere, and other attempts may start from it.
"""


@dataclass(frozen=True)
class Attempt(Shown):
    """One completion of a model on a task, with the code that was taken from it and its verdicts.

    The natural key of an attempt is (task_id, arm, sample, round).
    """

    task_id: str
    arm: str
    """The name of the series of attempts to which the attempt belongs, such as an arm of an evaluation."""
    sample: int
    """The number of the sample, from 0. A sample is a first program and the attempts that are made from it."""
    round: int
    """The number of the attempt within its sample. The first program has round 0."""
    parent: str
    """The id of the attempt from which the attempt was made, or empty for a draft."""
    prompt: str
    """The message that was given to the model."""
    completion: str
    """The raw text of the model's reply."""
    code: str
    """The code that was taken from the completion and tested."""
    verdict: Verdict
    """The verdict on the hidden checks, which decides whether the attempt counts as right."""
    public: Verdict
    """The verdict on the public checks, which a model may see."""
    n_prompt_tokens: int
    """The number of tokens in the prompt."""
    n_completion_tokens: int
    """The number of tokens that were decoded for the completion."""
    seed: int
    """The seed of the random choices while decoding."""
    finish: str
    """Why the completion ended: a ``Finish`` of ``sampling/request.py``, or how a search for edits ended."""
    tidied: tuple[str, ...] = ()
    """The names of the steps that took the code out of the completion."""
    kind: Kind = "draft"
    """How the attempt was made."""
    n_read_tokens: int = 0
    """The number of tokens of a failed program that the model read to make this attempt. They were not decoded."""
    n_tries: int = 0
    """The number of edits that were run to make this attempt. No tokens were decoded for them."""
    tokens: tuple[int, ...] = ()
    """The ids of the decoded tokens, if training by rewards learns from them. Otherwise they are not kept."""

    @property
    def id(self) -> str:
        """The id, which holds the natural key (see ``attempt_id``)."""
        return attempt_id(self.arm, self.task_id, self.sample, self.round)

    @property
    def passed(self) -> bool:
        """Whether the code passed the hidden checks."""
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
    """Return the id of the attempt with this natural key, such as ``base/facts:HumanEval/0:0:1``."""
    return f"{arm}:{task_id}:{sample}:{round_}"
