"""Run the edit searches of a stream. Each search ends as an attempt.

A search begins with a failed program that the model has read. It has these steps:

1. Another process runs the failed program and records which lines its failing calls run.
2. Edits of the program are put in order, by the model's surprise and by these lines (``candidates.py``).
3. The edits are tried in this order (``search.py``): each edited program is run against the public checks, or against the hidden
   ones if the move allows that.
4. Of the edits that pass, the one whose whole program the model finds likeliest is chosen.
5. The chosen program is tested with all checks, and becomes the attempt.

Nothing is decoded and nothing is drawn at random. The result depends only on the failed program and on the codes that were tried
before, except that a try may run into its time limit on a slow machine. So a search that was killed can be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.edits.candidates import Candidate, candidates, traceable, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.search import EditSearch, likeliest
from mlx_selfdebug.repair.edits.trying import QuickRunner, TracingRunner, wall_s_of
from mlx_selfdebug.repair.judging import Tests, VerdictCache, public_of, require_tested
from mlx_selfdebug.repair.policies import EXHAUSTED, Move
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.sandbox.executed import Executed, failing_shares
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

EDITED = "edited"
"""The ``finish`` of a search that found an edit which passes."""
MAX_TRIES = 150
"""The largest number of edits that one search runs.

Raising the limit from 150 to 300 repaired none of 93 bugs put into training tasks in addition, and gave one wrong repair.
"""
MAX_COMPARED = 4
"""The largest number of passing edits that are compared by the likelihood of the whole program."""

Likelihood = Callable[[ProgramReading, Sequence[str]], Sequence[float]]
"""Returns the log-likelihood, in nats, of each given program as an answer to the statement of the program that was read."""


@dataclass(frozen=True)
class SearchRequest:
    """A request for one search."""

    arm: str
    """The arm that the search's attempt belongs to."""
    task: Task
    move: Move
    """The move that asks for the search. Its parent is the failed attempt."""
    program: ProgramReading
    """The reading of the parent's program."""
    seed: int
    """The seed that is stored with the attempt. The search itself draws nothing at random."""
    tried: tuple[str, ...] = ()
    """Codes that were attempted before, which are not tried again."""

    @property
    def parent(self) -> Attempt:
        """The failed attempt whose program is searched."""
        assert self.move.parent is not None
        return self.move.parent


class SearchPool:
    """The searches that are under way.

    Args:
        runner: runs the tries.
        cache: tests the program of the edit that was chosen.
        likelihood: returns how likely whole programs are, by which one of the edits that pass is chosen.
    """

    def __init__(self, runner: TestRunner, cache: VerdictCache, likelihood: Likelihood) -> None:
        self._runner, self._cache, self._likelihood = runner, cache, likelihood
        self._under_way: list[_SearchJob] = []

    @property
    def pending(self) -> int:
        """The number of searches that are under way."""
        return len(self._under_way)

    @property
    def futures(self) -> list[Future[Any]]:
        """The futures that the searches wait for."""
        return [future for job in self._under_way for future in job.futures]

    def begin(self, request: SearchRequest) -> None:
        """Begin one more search."""
        self._under_way.append(_SearchJob(request, self._runner, self._cache, self._likelihood))

    def close(self) -> None:
        """End all searches without their attempts. Tries that have begun still end by themselves."""
        for job in self._under_way:
            job.close()
        self._under_way.clear()

    def finished(self) -> Iterator[Attempt]:
        """Advance all searches, and yield the attempts of those that are over. Raises SandboxError if tests could not be run."""
        for job in list(self._under_way):
            attempt = job.advance()
            if attempt is not None:
                self._under_way.remove(job)
                yield attempt


class _SearchJob:
    """One search. It waits for the trace of the failed program, then for the tries, and at last for the tests of the chosen edit.

    Nothing here blocks: ``advance`` does what is possible, and ``futures`` says what the search waits for.
    """

    def __init__(self, request: SearchRequest, runner: TestRunner, cache: VerdictCache, likelihood: Likelihood) -> None:
        self._request, self._runner, self._cache, self._likelihood = request, runner, cache, likelihood
        self._domain = domain_of(request.task.domain)
        self._checks = request.task.hidden if request.move.hidden else request.task.public
        self._wall_s = wall_s_of(request.parent.public, runner.limits.wall_s)
        self._trace = self._begin_trace()
        self._search: EditSearch[Candidate] | None = None
        self._chosen: Candidate | None = None
        self._tests: Tests | None = None

    @property
    def futures(self) -> list[Future[Any]]:
        """The futures that the search waits for now."""
        if self._tests:
            return [future for future in self._tests.futures if not future.done()]
        if self._search:
            return [self._search.ended]
        return [self._trace] if self._trace else []

    def advance(self) -> Attempt | None:
        """Advance the search as far as possible without waiting. Return its attempt if it is over."""
        if self._search is None:
            if self._trace and not self._trace.done():
                return None
            self._search = self._begin_search()
        if not self._search.ended.done():
            return None
        self._search.ended.result()  # Raises the error of a search that failed.
        if not self._search.passing:
            parent = self._request.parent
            return self._attempt(parent.code, parent.verdict, parent.public, EXHAUSTED)
        if self._chosen is None or self._tests is None:
            compared = self._search.passing[:MAX_COMPARED]
            self._chosen = likeliest(compared, lambda codes: self._likelihood(self._request.program, codes))
            self._tests = self._cache.tests(self._chosen.code, self._request.task)
        if any(not future.done() for future in self._tests.futures):
            return None
        hidden = require_tested(self._tests.hidden.result(), f"{self._request.task.id} (hidden checks)")
        return self._attempt(self._chosen.code, hidden, public_of(self._tests, self._request.task), EDITED)

    def close(self) -> None:
        """Begin no further tries."""
        if self._search:
            self._search.close()

    def _begin_trace(self) -> Future[Executed] | None:
        """Begin to run the failed program to see which lines its failing calls run. Return None if it is not Python."""
        if not traceable(self._domain):
            return None
        tracing = TracingRunner(self._runner, self._wall_s)
        trace = self._domain.judge(self._request.parent.code, self._request.task, self._checks, tracing)
        # A domain passes on the futures of its runner, and the futures of a ``TracingRunner`` hold no verdicts.
        return cast("Future[Executed]", trace)

    def _begin_search(self) -> EditSearch[Candidate]:
        """Put the edits in order and begin to try them. The trace, if there is one, must have ended."""
        task, program = self._request.task, self._request.program
        executed = failing_shares(self._trace.result()) if self._trace else None
        ordered = candidates(program, self._domain, hints_of(task, self._request.parent.public.failures), executed)
        quick = QuickRunner(self._runner, self._wall_s)
        return EditSearch(
            worthwhile(ordered, program, self._domain, self._request.tried),
            run=lambda candidate: self._domain.judge(candidate.code, task, self._checks, quick),
            max_tries=MAX_TRIES,
            require_tested=lambda verdict: require_tested(verdict, task.id),
        )

    def _attempt(self, code: str, hidden: Verdict, public: Verdict, finish: str) -> Attempt:
        """Return the attempt with which the search ends."""
        request, program = self._request, self._request.program
        assert self._search is not None
        return Attempt(
            task_id=request.task.id,
            arm=request.arm,
            sample=request.move.sample,
            round=request.move.round,
            parent=request.parent.id,
            prompt=program.prompt,
            completion=self._domain.completion(code),
            code=code,
            verdict=hidden,
            public=public,
            n_prompt_tokens=len(program.prompt_ids),
            n_completion_tokens=0,
            seed=request.seed,
            finish=finish,
            kind="edits",
            n_read_tokens=len(program.ids),
            n_tries=self._search.n_tries,
        )
