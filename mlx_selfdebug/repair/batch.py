"""Carry moves out: hand them to the decode batch, the searches and the tests, and return the attempts as they are finished.

A draft, a repair or a fork is decoded, and its completion is then tested. A search for an edit is only tested. All MLX work is done
on the calling thread, while the tests run in other processes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from functools import partial

from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.memory import Governor
from mlx_selfdebug.progress import Spent
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding, Refused
from mlx_selfdebug.repair.edits.searching import SearchPool, SearchRequest
from mlx_selfdebug.repair.judging import Judging, VerdictCache
from mlx_selfdebug.repair.policies import EXHAUSTED, Move
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.repair.reading import Readings
from mlx_selfdebug.repair.watching import Watcher
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.language_model import LanguageModel, open_decoder
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task

logger = logging.getLogger(__name__)

MAX_SEARCHES = 4
"""The largest number of searches for an edit that are under way at a time: enough to keep the test runner busy."""


@dataclass(frozen=True)
class Job:
    """One attempt to make."""

    arm: str
    """The name of the arm that the attempt belongs to."""
    task: Task
    move: Move
    attempts: tuple[Attempt, ...]
    """The attempts that the arm has made on the task before, ordered by sample and round."""


@dataclass(frozen=True)
class GivenUp:
    """A job that cannot be carried out, and the reason."""

    job: Job
    reason: str


class Batch:
    """The jobs of all arms of a stream, those that wait and those that are under way, with the decode batch that they share.

    Args:
        model: the model that decodes and reads.
        runner: runs the edits of searches.
        cache: tests the programs of finished attempts, each different program once.
        askings: turn the moves of each arm into requests, by the arm's name.
        decoding: says how wide the decode batch may be.
        spent: gets the seconds that each activity takes.
        watcher: told of each step; by default nobody is.

    Raises BudgetError if no row fits the memory budget.
    """

    def __init__(
        self,
        model: LanguageModel,
        runner: TestRunner,
        cache: VerdictCache,
        askings: Mapping[str, Asking],
        decoding: Decoding,
        spent: Spent,
        watcher: Watcher | None = None,
    ) -> None:
        self._decoder = open_decoder(
            model,
            budget_bytes=decoding.budget_bytes,
            reserved_bytes=decoding.reserved_bytes,
            max_rows=decoding.batch_size,
            max_row_tokens=max(asking.max_row_tokens for asking in askings.values()),
        )
        self._askings = askings
        self._spent = spent
        self._watcher = watcher or Watcher()
        self._is_watched = watcher is not None
        self._governor = Governor(decoding.budget_bytes, self._decoder.width)
        self._readings = Readings(model, self._decoder)
        self._judging = Judging(cache)
        self._searches = SearchPool(runner, cache, self._readings.log_likelihoods)
        self._ready: deque[Job] = deque()
        self._to_search: deque[Job] = deque()
        self._asked: dict[int, Asked] = {}
        self._ended: list[Attempt | GivenUp] = []

    @property
    def counts(self) -> DecodingCounts:
        """What was decoded so far."""
        return self._decoder.counts

    @property
    def busy(self) -> bool:
        """Whether a job waits, is under way, or has ended without having been returned."""
        waiting = self._ready or self._to_search or self._asked or self._ended
        return bool(waiting or self._judging.n_pending or self._searches.pending)

    @property
    def n_in_test(self) -> int:
        """The number of completions whose tests are under way."""
        return self._judging.n_pending

    @property
    def n_searched(self) -> int:
        """The number of programs that are being searched for an edit, or that wait for a search."""
        return self._searches.pending + len(self._to_search)

    @property
    def room(self) -> int:
        """The number of further jobs to take on, until there are twice as many as the decode batch has rows."""
        waiting = len(self._ready) + len(self._to_search) + len(self._asked)
        return max(0, 2 * self._decoder.width - waiting)

    def add(self, jobs: Sequence[Job]) -> None:
        """Queue jobs in front of the jobs that have not begun."""
        self._ready.extendleft(reversed(jobs))

    def append(self, jobs: Sequence[Job]) -> None:
        """Queue jobs behind the jobs that have not begun."""
        self._ready.extend(jobs)

    def advance(self) -> list[Attempt | GivenUp]:
        """Begin the jobs that there is room for, decode one step, and return the jobs that have ended.

        A job that was carried out is returned as its attempt, any other as ``GivenUp``. If nothing is being decoded, this waits
        until a test or a search ends. Raises SandboxError if tests cannot be run.
        """
        self._decoder.limit(self._governor.width())
        self._begin_jobs()
        if self._decoder.shares_cores:
            # The model computes on the cores on which the tests run. Hundreds of test runs and a matrix product take far longer
            # at the same time than one after the other.
            with self._spent.on("trying edits"):
                wait(self._searches.futures)
        # A step takes as long for one row as for ``min_rows``. While programs wait to be searched, more rows may still follow from
        # the searches, so no step is made until it is full.
        completions = self._decoder.step() if self._step_is_full or not self._to_search else []
        for completion in completions:
            self._judging.begin(self._asked.pop(completion.ticket), completion)
        if not self._asked and not self._ended:
            with self._spent.on("waiting for tests"):
                wait([*self._judging.futures, *self._searches.futures], return_when=FIRST_COMPLETED)
        ended = [*self._ended, *self._judging.finished(), *self._searches.finished()]
        self._ended.clear()
        return ended

    def close(self) -> None:
        """End the searches that are still under way, as they are after an error or an interruption."""
        self._searches.close()

    @property
    def _step_is_full(self) -> bool:
        """Whether at least ``min_rows`` rows are being decoded or wait for it."""
        return self._decoder.active + self._decoder.waiting >= self._decoder.min_rows

    def _begin_jobs(self) -> None:
        """Begin the jobs that the next step needs, and no more: prompts are rendered, and programs read, as late as possible."""
        max_searches = MAX_SEARCHES
        if self._decoder.shares_cores:
            # The edits of one search keep all cores busy. Once a step is full, decoding comes first.
            max_searches = 0 if self._step_is_full else 1
        while self._to_search and self._searches.pending < max_searches:
            self._search(self._to_search.popleft())
        while self._ready and self._decoder.waiting < self._decoder.width:
            job = self._ready.popleft()
            if job.move.by == "edits":
                self._to_search.append(job)
            else:
                self._ask(job)

    def _search(self, job: Job) -> None:
        """Read the parent's program and begin to search it for an edit."""
        program = self._read(job)
        if program is not None:
            tried = tuple(attempt.code for attempt in job.attempts)
            seed = self._askings[job.arm].seed_of(job.task, job.move)
            self._watcher.begin(job.task, job.move)
            self._searches.begin(SearchRequest(job.arm, job.task, job.move, program, seed, tried))

    def _ask(self, job: Job) -> None:
        """Hand the request of a draft, a repair or a fork to the decoder, or end the job if its move is refused."""
        program = None
        if job.move.is_fork:
            program = self._read(job)
            if program is None:
                return
        asked = self._askings[job.arm].ask(job.task, job.move, attempts=job.attempts, program=program)
        if isinstance(asked, Asked):
            self._watcher.begin(job.task, job.move)
            if self._is_watched:
                on_text = partial(self._watcher.write, job.task, job.move)
                asked = replace(asked, request=replace(asked.request, on_text=on_text))
            self._asked[self._decoder.submit(asked.request)] = asked
        elif job.move.is_fork:
            self._exhaust(job, asked)
        else:
            self._ended.append(GivenUp(job, asked.reason))

    def _read(self, job: Job) -> ProgramReading | None:
        """Return the reading of the parent's program. If it cannot be read, the job is ended and the result is None."""
        assert job.move.parent is not None
        question = self._askings[job.arm].question(job.task)
        try:
            with self._spent.on("reading"):
                program = self._readings.read(
                    job.task, job.move.parent.code, question.prompt, question.ids, question.breaks
                )
        except UnreadableError as error:
            self._exhaust(job, Refused(str(error)))
            return None
        self._watcher.read(job.task, program)
        return program

    def _exhaust(self, job: Job, refused: Refused) -> None:
        """End a job whose move was refused, with an attempt that repeats the parent's program and has the finish ``EXHAUSTED``.

        The policy sees this attempt and goes on with something else.
        """
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
            seed=self._askings[job.arm].seed_of(job.task, job.move),
            finish=EXHAUSTED,
            tidied=(),
            kind=job.move.kind,
            n_read_tokens=0,
            n_tries=0,
        )
        self._ended.append(attempt)
