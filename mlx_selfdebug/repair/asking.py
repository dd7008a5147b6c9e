"""From a task and a move to a request: the prompt's text, its token ids, and where it may be shared with other prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.repair.forks import ReadProgram, falls_back, forks_of, greedy_after, repeats, that_leave
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.seeds import attempt_seed
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import EVERYTHING, Feedback
from mlx_selfdebug.values.task import Task

FACTS_TOKENS = 200
"""What the facts of a repair prompt usually take at most, for the size of a batch's rows."""
FACTS_SHOWN = (3, 1)
"""Facts in a repair prompt; fewer if the prompt would not fit the context."""
FORKS = 4
"""Forks of one program that share what is computed of its beginning, where that cannot be had from the reading; more are rare."""


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
    """One attempt to be made, as the model is asked for it.

    ``tried`` are the programs that a completion which is ended as a copy may be a copy of. ``n_read_tokens`` counts the tokens of
    the program that was read for it and for no attempt before.
    """

    arm: str
    task: Task
    move: Move
    prompt: str
    request: Request
    tried: tuple[str, ...] = ()
    n_read_tokens: int = 0


@dataclass(frozen=True)
class Refused:
    """Why a move cannot be made, in words. ``exhausted``: because nothing is left to be tried, and not for want of room."""

    reason: str
    exhausted: bool = False


@dataclass(frozen=True)
class Question:
    """What the model is asked: the message, the ids of the chat up to its reply, and the places in these up to which other
    prompts may be the same.
    """

    prompt: str
    ids: tuple[int, ...]
    breaks: tuple[int, ...]


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

    def question(self, task: Task) -> Question:
        """Return what a draft of ``task`` is asked with: its statement alone. Programs are read as answers to it."""
        draft = self._drafts[task.id]
        return Question(draft.prompt, draft.ids, (self._common, draft.shared))

    def ask(
        self, task: Task, move: Move, *, attempts: Sequence[Attempt] = (), program: ReadProgram | None = None
    ) -> Asked | Refused:
        """Return how the model is asked for ``move``, or why it cannot be: a prompt that does not fit the context, a fork from a
        place that the program does not have.

        A fork needs ``program``, the parent's, read as an answer to ``question(task)``. ``attempts`` are those made before the
        move: what forks of the same parent gave is not written again.
        """
        if move.parent is None:
            return self._asked(task, move, self.question(task))
        if move.by == "fork":
            if program is None:
                raise ValueError(f"a fork of {move.parent.id} was asked for, which was not read")
            asked_fork = self._fork(task, move, program, _programs(move.parent, attempts))
            if isinstance(asked_fork, Refused) or move.place or _was_read(move.parent, attempts):
                return asked_fork
            return replace(asked_fork, n_read_tokens=len(program.ids))
        repair = self._repair(task, move.parent)
        if isinstance(repair, Refused):
            return repair
        asked = self._asked(task, move, repair)
        ended = repeats(move.parent.code, domain_of(task.domain))
        return replace(asked, request=replace(asked.request, ended=ended), tried=(move.parent.code,))

    def seed_of(self, task: Task, move: Move) -> int:
        """Return the seed of the attempt that ``move`` makes."""
        return attempt_seed(self._run_seed, task.id, self._arm, move.sample, move.round)

    def _asked(self, task: Task, move: Move, question: Question) -> Asked:
        how = self._decoding
        request = Request(
            question.ids,
            how.max_tokens,
            how.temperature if move.temperature is None else move.temperature,
            how.min_p,
            self.seed_of(task, move),
            domain_of(task.domain).stop_text,
            question.breaks,
        )
        return Asked(self._arm, task, move, question.prompt, request)

    def _fork(self, task: Task, move: Move, program: ReadProgram, tried: tuple[str, ...]) -> Asked | Refused:
        domain = domain_of(task.domain)
        takes = that_leave(program, self._model.eos_ids, domain)
        forks = forks_of(program.reading, max(FORKS, move.place + 1), takes)
        if move.place >= len(forks):
            return Refused(
                f"the program has {len(forks)} places to fork from, and {move.place} were tried", exhausted=True
            )
        fork, n_prompt = forks[move.place], len(program.prompt_ids)
        given = (*program.ids[: fork.position], fork.choice)
        if n_prompt + len(given) + self._decoding.max_tokens > self._model.context:
            return Refused(f"a fork after {len(given):,} tokens of the program does not fit the context")
        asked = self._asked(
            task,
            replace(move, temperature=move.temperature or 0.0),
            Question(program.prompt, program.prompt_ids, program.breaks),
        )
        request = replace(
            asked.request,
            given=given,
            read=program.prompt_ids + program.ids,
            read_breaks=tuple(sorted(n_prompt + other.position for other in forks)),
        )
        if not request.temperature:
            failed, *others = tried
            greedy_from = greedy_after(program, len(failed.strip("\n")))
            back = falls_back(failed, others, domain, after=program.starts[fork.position], greedy_from=greedy_from)
            request = replace(request, ended=back)
        return replace(asked, move=move, request=request, tried=tried)

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

    def _repair(self, task: Task, parent: Attempt) -> Question | Refused:
        domain, how, draft = domain_of(task.domain), self._decoding, self._drafts[task.id]
        facts_of = how.borrowed.get(task.id, parent)
        for n in FACTS_SHOWN:
            prompt = domain.repair_prompt(task, parent, max_facts=n, feedback=how.feedback, facts_of=facts_of)
            ids = self._ids(task, prompt)
            if len(ids) + how.max_tokens <= self._model.context:
                return Question(prompt, ids, (self._common, min(draft.shared, common_length(draft.ids, ids))))
        return Refused("the prompt of a repair does not fit the context")

    def _draft(self, task: Task) -> _Draft:
        prompt = domain_of(task.domain).prompt(task, feedback=self._decoding.feedback)
        ids = self._ids(task, prompt)
        return _Draft(prompt, ids, common_length(ids, self._ids(task, prompt + "\n\n")))

    def _ids(self, task: Task, prompt: str) -> tuple[int, ...]:
        prefix = domain_of(task.domain).reply_prefix
        return tuple(self._model.render([{"role": "user", "content": prompt}], reply_prefix=prefix))


def _programs(parent: Attempt, attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """The parent's code, and what its forks gave."""
    forks = [one.code for one in attempts if one.kind == "fork" and one.parent == parent.id]
    return tuple(dict.fromkeys([parent.code, *forks]))


def _was_read(parent: Attempt, attempts: Sequence[Attempt]) -> bool:
    """Say whether the parent's tokens are counted with an earlier attempt: it is read once for all that is made of it."""
    return any(attempt.parent == parent.id and attempt.n_read_tokens for attempt in attempts)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids ``a`` and ``b`` begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
