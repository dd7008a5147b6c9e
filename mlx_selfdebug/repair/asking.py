"""Turn a task and a move into a request for the model.

A request holds the token ids of its prompt, and the positions up to which other prompts may be the same. The model then computes
such a shared beginning only once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.repair.copies import common_length, repeats, returns_to_known_program
from mlx_selfdebug.repair.forks import (
    Fork,
    Insertion,
    Line,
    fork_filter,
    forks_of,
    greedy_start,
    insertion_at,
    insertion_filter,
    line_at,
    line_filter,
)
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.language_model import LanguageModel
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sampling.seeds import attempt_seed
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import EVERYTHING, MAX_FACTS, Feedback
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.repair.program_reading import ProgramReading

FACTS_TOKENS = 200
"""The number of tokens that the facts of a repair prompt usually take at most, from which the length of a row is estimated."""
FACTS_SHOWN = (MAX_FACTS, 1)
"""How many facts a repair prompt shows. The second number is tried only if the prompt would not fit the context with the first."""
SHARING_FORKS = 4
"""The number of forks of a program whose places are named in the request of each of them (``Request.read_breaks``).

A network with a recurrent state cannot continue from the middle of a reading. So it computes the program anew up to these places,
and forks that name the same places share this computation. More than four forks of one program are rare.
"""
LINES_PER_PLACE = 4
"""The largest number of forks that write a line from the same place on, each beginning with another token."""
INSERTIONS_PER_PLACE = 2
"""The largest number of forks that insert a statement at the same place, each beginning with another token."""
MAX_LINE_TOKENS = 64
"""The largest number of tokens in the line or the statement that a fork writes."""


@dataclass(frozen=True)
class Decoding:
    """The settings by which completions are drawn, and the memory that this may take."""

    temperature: float
    """The temperature of every move that has none of its own; 0 is greedy."""
    min_p: float
    """Tokens that are less likely than this share of the likeliest token are dropped."""
    max_tokens: int
    """The largest number of tokens in one completion."""
    batch_size: int
    """The largest number of rows that are decoded side by side."""
    budget_bytes: int
    """The memory that this process and its children may take together."""
    reserved_bytes: int = 0
    """The part of the budget that is reserved for running tests."""
    feedback: Feedback = EVERYTHING
    """What the prompts show: the public checks, the failed code and its facts, or only some of these."""
    borrowed: Mapping[str, Attempt] = field(default_factory=dict)
    """By task id, an attempt of another task. Repairs of the task are shown the facts of that attempt instead of their own."""
    keep_tokens: bool = False
    """Whether the attempts hold the tokens that were decoded."""


@dataclass(frozen=True)
class Asked:
    """A request for one attempt, with what is needed to judge the completion."""

    arm: str
    task: Task
    move: Move
    prompt: str
    """The message to the model, as text."""
    request: Request
    tried: tuple[str, ...] = ()
    """The programs that the completion may turn out to be a copy of, if it is ended as a copy."""
    line: Line | Insertion | None = None
    """The line that the completion replaces, or above which it is inserted; None if the completion is the whole program."""
    n_read_tokens: int = 0
    """The number of tokens that the model read for this attempt; 0 if an earlier attempt already counts the same reading."""
    keep_tokens: bool = False
    """Whether the attempt is to hold the tokens that were decoded."""


@dataclass(frozen=True)
class Refused:
    """The answer to a move that cannot be made."""

    reason: str
    exhausted: bool = False
    """True if nothing is left to try, false if the context has too little room."""


@dataclass(frozen=True)
class Question:
    """A message to the model, as text and as token ids."""

    prompt: str
    ids: tuple[int, ...]
    """The token ids of the chat, up to the point where the model's reply begins."""
    breaks: tuple[int, ...]
    """Positions in ``ids``, ascending, up to which other prompts may be the same."""


@dataclass(frozen=True)
class _Draft:
    """The draft prompt of one task."""

    prompt: str
    ids: tuple[int, ...]
    shared: int
    """The number of leading ids that stay the same in a longer message which begins with this prompt."""


class Asking:
    """The builder of the requests of one arm on ``tasks``.

        asking = Asking(model, tasks, decoding, run_seed=0, arm="collect")
        asked = asking.ask(tasks[0], Move(sample=0))  # a draft of the first task
        decoder.submit(asked.request)

    ``run_seed`` and ``arm`` decide the seeds of the attempts. Raises a ModelError that names every task whose draft prompt does not
    fit the model's context.
    """

    def __init__(
        self, model: LanguageModel, tasks: Sequence[Task], decoding: Decoding, run_seed: int, arm: str
    ) -> None:
        self._model, self._decoding = model, decoding
        self._run_seed, self._arm = run_seed, arm
        self._drafts = {task.id: self._draft(task) for task in tasks}
        self._require_that_all_fit()
        # All prompts are assumed to begin with the tokens that two of them have in common. Tasks may be asked in the same words.
        first, *others = self._drafts.values()
        self._common = next((common_length(first.ids, o.ids) for o in others if o.ids != first.ids), 0)

    @property
    def prompt_lengths(self) -> list[int]:
        """The number of tokens in each task's draft prompt."""
        return [len(draft.ids) for draft in self._drafts.values()]

    @property
    def max_row_tokens(self) -> int:
        """An estimate of how many tokens the longest prompt of these tasks and its completion take together."""
        # A repair prompt adds the failed code, which is itself a completion, and its facts to the draft prompt.
        return min(max(self.prompt_lengths) + 2 * self._decoding.max_tokens + FACTS_TOKENS, self._model.context)

    def question(self, task: Task) -> Question:
        """Return the question that asks for a draft of ``task``. Programs are read as answers to the same question."""
        draft = self._drafts[task.id]
        return Question(draft.prompt, draft.ids, self._breaks(draft.shared))

    def ask(
        self, task: Task, move: Move, *, attempts: Sequence[Attempt] = (), program: ProgramReading | None = None
    ) -> Asked | Refused:
        """Return the request for ``move``, or a refusal with the reason why the move cannot be made.

        A move is refused if its prompt does not fit the context, or if it is a fork from a place that the program does not have. A
        fork of the whole rest will end early if it only repeats the parent or an earlier fork of the parent.

        Args:
            task: one of the arm's tasks.
            move: any move but a search for an edit.
            attempts: the attempts that the arm has made on the task before.
            program: the parent's program, read as an answer to ``question(task)``. Every fork needs it.

        Raises ValueError if a fork comes without ``program``.
        """
        if move.parent is None:
            return self._asked(task, move, self.question(task))
        if not move.is_fork:
            return self._repair(task, move, move.parent)
        if program is None:
            raise ValueError(f"a fork needs its parent's reading, but {move.parent.id} was not read; pass program")
        if move.by == "fork":
            asked = self._fork(task, move, program, _programs(move.parent, attempts))
        else:
            asked = self._line_or_insertion(task, move, program)
        if isinstance(asked, Refused) or move.place or _was_read(move.parent, attempts):
            return asked
        return replace(asked, n_read_tokens=len(program.ids))

    def seed_of(self, task: Task, move: Move) -> int:
        """Return the seed of the attempt that ``move`` makes."""
        return attempt_seed(self._run_seed, task.id, self._arm, move.sample, move.round)

    def _draft(self, task: Task) -> _Draft:
        """Render the draft prompt of ``task``."""
        prompt = domain_of(task.domain).prompt(task, feedback=self._decoding.feedback)
        ids = self._ids(task, prompt)
        # The last tokens of the prompt may change when more text follows, so a longer prompt shows which of them stay.
        return _Draft(prompt, ids, common_length(ids, self._ids(task, prompt + "\n\n")))

    def _breaks(self, shared: int) -> tuple[int, int]:
        """Return up to where a prompt may be the same as those of other tasks, and as others of its own task: ``shared``."""
        return min(self._common, shared), shared

    def _ids(self, task: Task, prompt: str) -> tuple[int, ...]:
        """Return the token ids of the chat with the message ``prompt``, up to where the model's reply begins."""
        prefix = domain_of(task.domain).reply_prefix
        return tuple(self._model.render([{"role": "user", "content": prompt}], reply_prefix=prefix))

    def _require_that_all_fit(self) -> None:
        """Raise ModelError if a task's draft prompt leaves no room for a completion in the model's context."""
        max_prompt_tokens = self._model.context - self._decoding.max_tokens
        too_long = {
            task_id: len(draft.ids) for task_id, draft in self._drafts.items() if len(draft.ids) > max_prompt_tokens
        }
        if too_long:
            names = ", ".join(f"{task_id} ({n:,} tokens)" for task_id, n in too_long.items())
            raise ModelError(
                f"{self._model.name} has a context of {self._model.context:,} tokens, too few for the prompt and a completion of "
                f"{self._decoding.max_tokens:,} tokens on each of: {names}",
                hint="leave these tasks out, or lower max_tokens",
            )

    def _asked(self, task: Task, move: Move, question: Question) -> Asked:
        """Return the request that asks ``question``, with the settings of the arm's decoding and the seed of ``move``."""
        decoding = self._decoding
        request = Request(
            prompt=question.ids,
            max_tokens=decoding.max_tokens,
            temperature=decoding.temperature if move.temperature is None else move.temperature,
            min_p=decoding.min_p,
            seed=self.seed_of(task, move),
            stop_text=domain_of(task.domain).stop_text,
            breaks=question.breaks,
        )
        return Asked(self._arm, task, move, question.prompt, request, keep_tokens=decoding.keep_tokens)

    def _repair(self, task: Task, move: Move, parent: Attempt) -> Asked | Refused:
        """Return the request that shows ``parent`` to the model, and ends once the completion only repeats its program."""
        question = self._repair_question(task, parent)
        if isinstance(question, Refused):
            return question
        asked = self._asked(task, move, question)
        ended = repeats(parent.code, domain_of(task.domain))
        return replace(asked, request=replace(asked.request, ended=ended), tried=(parent.code,))

    def _repair_question(self, task: Task, parent: Attempt) -> Question | Refused:
        """Return the question that asks for a repair of ``parent``, with as many facts as the context has room for."""
        domain, decoding, draft = domain_of(task.domain), self._decoding, self._drafts[task.id]
        facts_of = decoding.borrowed.get(task.id, parent)
        for max_facts in FACTS_SHOWN:
            prompt = domain.repair_prompt(
                task, parent, max_facts=max_facts, feedback=decoding.feedback, facts_of=facts_of
            )
            ids = self._ids(task, prompt)
            if len(ids) + decoding.max_tokens <= self._model.context:
                return Question(prompt, ids, self._breaks(min(draft.shared, common_length(draft.ids, ids))))
        return Refused("the prompt of a repair does not fit the context")

    def _fork(self, task: Task, move: Move, program: ProgramReading, tried: tuple[str, ...]) -> Asked | Refused:
        """Return the request that writes the whole rest of the program, and ends once it is back in one of ``tried``."""
        domain = domain_of(task.domain)
        allows = fork_filter(program, self._model.eos_ids, domain)
        forks = forks_of(program.reading, max(SHARING_FORKS, move.place + 1), allows)
        asked = self._from_fork(task, move, program, forks)
        if isinstance(asked, Refused):
            return asked
        request = asked.request
        # Only a greedy fork is sure to repeat the rest of a program once it has found its way back into it.
        if not request.temperature:
            failed, *others = tried
            ended = returns_to_known_program(
                failed,
                others,
                domain,
                after=program.starts[forks[move.place].position],
                greedy_from=greedy_start(program, len(failed.strip("\n"))),
            )
            request = replace(request, ended=ended)
        return replace(asked, request=request, tried=tried)

    def _line_or_insertion(self, task: Task, move: Move, program: ProgramReading) -> Asked | Refused:
        """Return the request for a line, or for a statement above a line, after which the program goes on as it was."""
        domain = domain_of(task.domain)
        allows = line_filter(program, fork_filter(program, self._model.eos_ids, domain), domain)
        per_place = LINES_PER_PLACE
        if move.by == "insert":
            allows = insertion_filter(program, allows)
            per_place = INSERTIONS_PER_PLACE
        forks = forks_of(program.reading, max(SHARING_FORKS, move.place + 1), allows, per_place=per_place)
        asked = self._from_fork(task, move, program, forks)
        if isinstance(asked, Refused):
            return asked
        line_or_insertion_at = insertion_at if move.by == "insert" else line_at
        line: Line | Insertion = line_or_insertion_at(program, forks[move.place].position)
        max_tokens = min(MAX_LINE_TOKENS, asked.request.max_tokens)
        request = replace(asked.request, max_tokens=max_tokens, ended=line.is_complete, ended_as="line")
        return replace(asked, request=request, line=line)

    def _from_fork(self, task: Task, move: Move, program: ProgramReading, forks: Sequence[Fork]) -> Asked | Refused:
        """Return the request that completes the program from the fork ``forks[move.place]``.

        The other forks are those that may share what the model computes of the program's beginning.
        """
        if move.place >= len(forks):
            return Refused(
                f"the program has {len(forks)} places to fork from, and {move.place} were tried", exhausted=True
            )
        fork, n_prompt = forks[move.place], len(program.prompt_ids)
        given = (*program.ids[: fork.position], fork.choice)
        if n_prompt + len(given) + self._decoding.max_tokens > self._model.context:
            return Refused(f"a fork after {len(given):,} tokens of the program does not fit the context")
        # A fork without a temperature of its own is greedy, unlike a draft or a repair.
        with_temperature = replace(move, temperature=move.temperature or 0.0)
        asked = self._asked(task, with_temperature, Question(program.prompt, program.prompt_ids, program.breaks))
        breaks = tuple(sorted({n_prompt + other.position for other in forks}))
        request = replace(asked.request, given=given, read=program.prompt_ids + program.ids, read_breaks=breaks)
        return replace(asked, move=move, request=request)


def _programs(parent: Attempt, attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Return the parent's code and the codes of its earlier forks, each once."""
    forks = [attempt.code for attempt in attempts if attempt.kind == "fork" and attempt.parent == parent.id]
    return tuple(dict.fromkeys([parent.code, *forks]))


def _was_read(parent: Attempt, attempts: Sequence[Attempt]) -> bool:
    """Return whether an earlier attempt counts the parent's tokens as read. One reading serves all attempts made from a program."""
    return any(attempt.parent == parent.id and attempt.n_read_tokens for attempt in attempts)
