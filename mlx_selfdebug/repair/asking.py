"""From a task and a move to a request: the prompt's text, its token ids, and where it may be shared with other prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.repair.attempt import Attempt
from mlx_selfdebug.repair.feedback import EVERYTHING, Feedback
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.seeds import attempt_seed
from mlx_selfdebug.tasks.task import Task

FACTS_TOKENS = 200
"""What the facts of a repair prompt usually take at most, for the size of a batch's rows."""
FACTS_SHOWN = (3, 1)
"""Facts in a repair prompt; fewer if the prompt would not fit the context."""


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn, and within what memory.

    ``batch_size`` is the most rows side by side, ``budget_bytes`` what this process and its children may take, of which
    ``reserved_bytes`` are the tests'. ``borrowed`` gives for a task's id the
    attempt of another task whose facts its repairs are shown instead of their own.
    """

    temperature: float
    min_p: float
    max_tokens: int
    batch_size: int
    budget_bytes: int
    reserved_bytes: int = 0
    feedback: Feedback = EVERYTHING
    borrowed: Mapping[str, Attempt] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One attempt to be made, as the model is asked for it."""

    arm: str
    task: Task
    move: Move
    prompt: str
    request: Request


@dataclass(frozen=True)
class _Draft:
    """A task's draft prompt, its ids, and up to where the ids of a longer message that begins with it are the same."""

    prompt: str
    ids: tuple[int, ...]
    shared: int


class Asking:
    """Asks one arm's questions on ``tasks``. Raises ModelError that names every task whose draft does not fit the context."""

    def __init__(
        self, model: LanguageModel, tasks: Sequence[Task], decoding: Decoding, run_seed: int, arm: str
    ) -> None:
        self._model, self._decoding = model, decoding
        self._run_seed, self._arm = run_seed, arm
        self._drafts = {task.id: self._draft(task) for task in tasks}
        self._require_that_all_fit()
        first, *others = self._drafts.values()
        self._common = common_length(first.ids, others[0].ids) if others else 0

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each task's draft prompt."""
        return [len(draft.ids) for draft in self._drafts.values()]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt these tasks may give and its completion."""
        return min(max(self.prompt_lengths) + 2 * self._decoding.max_tokens + FACTS_TOKENS, self._model.context)

    def ask(self, task: Task, move: Move) -> Asked | None:
        """None for a repair whose prompt does not fit the context."""
        how, draft = self._decoding, self._drafts[task.id]
        asked = self._repair(task, move.parent) if move.parent else (draft.prompt, draft.ids)
        if asked is None:
            return None
        prompt, ids = asked
        temperature = how.temperature if move.temperature is None else move.temperature
        seed = attempt_seed(self._run_seed, task.id, self._arm, move.sample, move.round)
        stop = domain_of(task.domain).stop_text
        breaks = (self._common, min(draft.shared, common_length(draft.ids, ids)))
        return Asked(
            self._arm, task, move, prompt, Request(ids, how.max_tokens, temperature, how.min_p, seed, stop, breaks)
        )

    def _require_that_all_fit(self) -> None:
        room = self._model.context - self._decoding.max_tokens
        too_long = {task_id: len(draft.ids) for task_id, draft in self._drafts.items() if len(draft.ids) > room}
        if too_long:
            said = ", ".join(f"{task_id} ({n:,} tokens)" for task_id, n in too_long.items())
            raise ModelError(
                f"the context of {self._model.name}, {self._model.context:,} tokens, does not hold the prompt and "
                f"{self._decoding.max_tokens:,} tokens to decode of: {said}",
                hint="leave these tasks out, or lower max_tokens",
            )

    def _repair(self, task: Task, parent: Attempt) -> tuple[str, tuple[int, ...]] | None:
        domain, how = domain_of(task.domain), self._decoding
        facts_of = how.borrowed.get(task.id, parent)
        for n in FACTS_SHOWN:
            prompt = domain.repair_prompt(task, parent, max_facts=n, feedback=how.feedback, facts_of=facts_of)
            fitting = self._fitting(prompt, self._ids(task, prompt))
            if fitting:
                return fitting
        return None

    def _fitting(self, prompt: str, ids: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
        return (prompt, ids) if len(ids) + self._decoding.max_tokens <= self._model.context else None

    def _draft(self, task: Task) -> _Draft:
        prompt = domain_of(task.domain).prompt(task, feedback=self._decoding.feedback)
        ids = self._ids(task, prompt)
        return _Draft(prompt, ids, common_length(ids, self._ids(task, prompt + "\n\n")))

    def _ids(self, task: Task, prompt: str) -> tuple[int, ...]:
        prefix = domain_of(task.domain).reply_prefix
        return tuple(self._model.render([{"role": "user", "content": prompt}], reply_prefix=prefix))


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids ``a`` and ``b`` begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
