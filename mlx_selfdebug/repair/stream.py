"""Runs drafts, tests and repairs as one stream. Every task is a small state machine, and all of them share one decode batch.

    policy --moves--> decode batch --completion--> tests (other processes) --verdict--> store, policy --moves--> ...

The next prompt of a task joins the batch as soon as the task's verdicts are in. Other rows go on decoding meanwhile. Several arms
may play side by side in one batch. Attempts that are stored already count as made. An attempt depends only on its own key and on
its parent, not on the order of events.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field, replace
from itertools import chain

from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.memory import Governor
from mlx_selfdebug.progress import Spent, Stage
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding, Refused
from mlx_selfdebug.repair.edits.searching import AskedSearch, Searching
from mlx_selfdebug.repair.judging import Judging, Memory
from mlx_selfdebug.repair.policies import EXHAUSTED, Move, Policy
from mlx_selfdebug.repair.reading import ProgramReading, Readings
from mlx_selfdebug.sampling.language_model import Decoder, DecodingCounts, LanguageModel, open_decoder
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.values.attempt import Attempt, attempt_id
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

MAX_SEARCHES = 4
"""The largest number of searches for an edit that are under way at a time: enough to keep the test runner busy."""


@dataclass(frozen=True)
class Play:
    """One arm: a policy that is applied to some tasks."""

    arm: str
    """The name of the arm, under which its attempts are stored."""
    tasks: Sequence[Task]
    policy: Policy
    decoding: Decoding
    given: Mapping[str, Sequence[Attempt]] = field(default_factory=dict)
    """By task id, attempts of other arms with which this arm begins."""


@dataclass(frozen=True)
class _Job:
    """One attempt to make on ``task`` in ``arm``, and the ``attempts`` that were made before it."""

    arm: str
    task: Task
    move: Move
    attempts: tuple[Attempt, ...]


class _TaskMachine:
    """The state of one task in one arm: its finished attempts, and the moves that are under way."""

    def __init__(self, task: Task, play: Play) -> None:
        self.task = task
        self.arm = play.arm
        self.attempts: list[Attempt] = list(play.given.get(task.id, []))
        self._policy = play.policy
        self._under_way: set[tuple[int, int]] = set()

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    @property
    def solved(self) -> bool:
        return any(attempt.passed for attempt in self.attempts)

    def next_moves(self) -> Sequence[Move]:
        """Return the moves to make now, none while any is under way."""
        if self._under_way:
            return []
        moves = self._policy.moves(self.task, tuple(self.attempts))
        self._under_way = {(move.sample, move.round) for move in moves}
        return moves

    def give_up(self, move: Move) -> None:
        """End the task, because ``move`` cannot be made. Its other attempts that are under way are still finished."""
        self._policy = _Nothing()
        self._under_way.remove((move.sample, move.round))

    def finish(self, attempt: Attempt) -> None:
        self._under_way.remove((attempt.sample, attempt.round))
        self.attempts.append(attempt)
        self.attempts.sort(key=lambda a: (a.sample, a.round))


class _Nothing:
    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        return []


class Stream:
    """Makes the attempts of one or more arms, and stores each attempt as soon as it is finished.

    A stream is used for one ``play``. Its ``counts`` are those of the decoding, and ``spent`` records what the time was spent on.
    """

    def __init__(
        self, run: Run, model: LanguageModel, runner: TestRunner, stage: Stage, spent: Spent | None = None
    ) -> None:
        self.counts = DecodingCounts()
        self._spent = spent or Spent()
        self._run, self._model, self._stage = run, model, stage
        self._stored: dict[str, Attempt] = {}
        self._machines: dict[tuple[str, str], _TaskMachine] = {}
        self._ready: deque[_Job] = deque()
        self._to_search: deque[_Job] = deque()
        self._asked: dict[int, Asked] = {}
        self._runner = runner
        self._judging = Judging(Memory(runner))
        self._solved = 0

    def play(self, *plays: Play) -> dict[str, list[Attempt]]:
        """Make all attempts that the arms' policies ask for, and return them by arm.

        The attempts of an arm, which include those that it was given, are ordered by task, then by sample and round. One batch
        holds all arms, as wide as the decoding of the first play allows.

        Raises ModelError if the prompt of a draft does not fit the model's context or if the model's logits are not numbers,
        BudgetError if no row fits the memory budget, SandboxError if tests cannot be run, and StoreError if an attempt cannot be
        stored. Attempts that were stored before the error stay.
        """
        for play in plays:
            self._stored |= {attempt.id: attempt for attempt in self._run.attempts(play.arm)}
            for task in play.tasks:
                machine = self._machines[play.arm, task.id] = _TaskMachine(task, play)
                self._ready.extend(self._next_jobs(machine))
        if self._ready:
            tasks = {task.id for play in plays for task in play.tasks}
            known = [attempt for attempt in self._run.attempts() if attempt.task_id in tasks]
            self._judging = Judging(Memory(self._runner, known))
            seed = self._run.config.seed
            askings = {play.arm: Asking(self._model, play.tasks, play.decoding, seed, play.arm) for play in plays}
            try:
                self._decode(askings, plays[0].decoding)
            finally:
                self._spent.add("prompts", self.counts.prefill_s)
                self._spent.add("decoding", self.counts.decode_s)
        made: dict[str, list[Attempt]] = {play.arm: [] for play in plays}
        for (arm, _), machine in self._machines.items():
            made[arm].extend(machine.attempts)
        return made

    def _next_jobs(self, machine: _TaskMachine) -> list[_Job]:
        """Take over the attempts on a task that are stored already, and return the next ones to make.

        There are none while any is under way. A task on which nothing is left to do is counted as done.
        """
        missing: list[_Job] = []
        while not missing and (moves := machine.next_moves()):
            before = tuple(machine.attempts)
            for move in moves:
                stored = self._stored.get(attempt_id(machine.arm, machine.task.id, move.sample, move.round))
                if stored:
                    machine.finish(stored)
                else:
                    missing.append(_Job(machine.arm, machine.task, move, before))
        if not machine.busy:
            self._solved += machine.solved
            self._stage.advance(1)
        return missing

    def _decode(self, askings: Mapping[str, Asking], decoding: Decoding) -> None:
        decoder = open_decoder(
            self._model,
            budget_bytes=decoding.budget_bytes,
            reserved_bytes=decoding.reserved_bytes,
            max_rows=decoding.batch_size,
            max_row_tokens=max(asking.max_row_tokens for asking in askings.values()),
        )
        governor = Governor(decoding.budget_bytes, decoder.width)
        readings = Readings(self._model, decoder)
        self._searching = Searching(self._runner, self._judging.memory, readings.log_likelihoods)
        self.counts = decoder.counts
        begin = time.monotonic()
        while self._ready or self._to_search or self._asked or self._judging.pending or self._searching.pending:
            decoder.limit(governor.width())
            self._submit(decoder, askings, readings)
            if decoder.shares_cores:
                # The model computes on the cores on which the tests run. Hundreds of test runs beside a matrix product take far
                # longer than first the runs and then the product.
                with self._spent.on("trying edits"):
                    wait(self._searching.futures)
            # A step takes as long for one row as for ``min_rows``, so the batch waits until several searches have asked for rows.
            completions = decoder.step() if _is_full(decoder) or not self._to_search else []
            for completion in completions:
                self._judging.begin(self._asked.pop(completion.ticket), completion)
            if not self._asked:
                with self._spent.on("waiting for tests"):
                    wait([*self._judging.futures, *self._searching.futures], return_when=FIRST_COMPLETED)
            for attempt in chain(self._judging.finished(), self._searching.finished()):
                self._finish(attempt)
            self._tell(time.monotonic() - begin)

    def _submit(self, decoder: Decoder, askings: Mapping[str, Asking], readings: Readings) -> None:
        """Hand over only what the batch will want next, so that prompts are rendered, and programs read, as late as possible."""
        max_searches = MAX_SEARCHES
        if decoder.shares_cores:
            # The edits of one search keep all cores busy. Once the batch is full, decoding comes first.
            max_searches = 0 if _is_full(decoder) else 1
        while self._to_search and self._searching.pending < max_searches:
            job = self._to_search.popleft()
            self._search(job, askings[job.arm], readings)
        while self._ready and decoder.waiting < decoder.width:
            job = self._ready.popleft()
            if job.move.by == "edits":
                self._to_search.append(job)
            else:
                self._ask(job, decoder, askings[job.arm], readings)

    def _search(self, job: _Job, asking: Asking, readings: Readings) -> None:
        program = self._read(job, asking, readings)
        if program is not None:
            tried = tuple(attempt.code for attempt in job.attempts)
            self._searching.begin(
                AskedSearch(job.arm, job.task, job.move, program, asking.seed_of(job.task, job.move), tried)
            )

    def _ask(self, job: _Job, decoder: Decoder, asking: Asking, readings: Readings) -> None:
        program = None
        if job.move.by == "fork":
            program = self._read(job, asking, readings)
            if program is None:
                return
        asked = asking.ask(job.task, job.move, attempts=job.attempts, program=program)
        if isinstance(asked, Asked):
            self._asked[decoder.submit(asked.request)] = asked
        elif job.move.by == "fork":
            self._exhaust(job, asking, asked)
        else:
            self._give_up(job, asked.reason)

    def _read(self, job: _Job, asking: Asking, readings: Readings) -> ProgramReading | None:
        """Return the reading of the parent's program. If it cannot be read, record the move as exhausted and return None."""
        assert job.move.parent is not None
        question = asking.question(job.task)
        try:
            with self._spent.on("reading"):
                return readings.read(job.task, job.move.parent.code, question.prompt, question.ids, question.breaks)
        except UnreadableError as error:
            self._exhaust(job, asking, Refused(str(error)))
            return None

    def _exhaust(self, job: _Job, asking: Asking, refused: Refused) -> None:
        """Record a move that leads nowhere as an attempt, so that the policy sees it and goes on with something else."""
        if not refused.exhausted:
            logger.warning("%s: %s", job.task.id, refused.reason)
        assert job.move.parent is not None
        parent = job.move.parent
        attempt = replace(
            parent,
            arm=job.arm,
            sample=job.move.sample,
            round=job.move.round,
            parent=parent.id,
            n_prompt_tokens=0,
            n_completion_tokens=0,
            seed=asking.seed_of(job.task, job.move),
            finish=EXHAUSTED,
            tidied=(),
            kind=job.move.kind,
            n_read_tokens=0,
            n_tries=0,
        )
        self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        self._run.add_attempt(attempt)
        machine = self._machines[attempt.arm, attempt.task_id]
        machine.finish(attempt)
        self._ready.extendleft(reversed(self._next_jobs(machine)))

    def _give_up(self, job: _Job, reason: str) -> None:
        logger.warning("%s: %s. Nothing more is attempted on this task.", job.task.id, reason)
        machine = self._machines[job.arm, job.task.id]
        machine.give_up(job.move)
        self._next_jobs(machine)

    def _tell(self, seconds: float) -> None:
        rate = self.counts.decoded_tokens / seconds
        n_searched = self._searching.pending + len(self._to_search)
        searched = f", {n_searched} searched" if n_searched else ""
        self._stage.advance(0, f"{self._solved} solved, {rate:.0f} tokens/s, {self._judging.pending} in test{searched}")


def _is_full(decoder: Decoder) -> bool:
    """Return whether there are as many rows to decode as a step takes at least."""
    return decoder.active + decoder.waiting >= decoder.min_rows
