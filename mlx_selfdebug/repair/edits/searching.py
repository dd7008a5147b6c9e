"""Run the edit searches of a stream. Each search ends as an attempt.

    move --reading--> executed lines (another process) --> candidates in order --> tries --> the likeliest that passes --> tests

Nothing is decoded. The result of a search depends only on the failed program and on the codes that were tried before. A search that
was killed can therefore be run again, with the same result.
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
from mlx_selfdebug.repair.edits.trying import QuickRunner, TracingRunner, failing_shares, wall_s_of
from mlx_selfdebug.repair.judging import Tests, VerdictCache, public_of, require_tested
from mlx_selfdebug.repair.policies import EXHAUSTED, Move
from mlx_selfdebug.repair.reading import ProgramReading
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

EDITED = "edited"
"""The ``finish`` of a search that found an edit which passes."""
MAX_TRIES = 150
"""The largest number of edits that one search runs.

Of 93 bugs put into training tasks, 300 tries repaired no more than 150 did, and they repaired one wrongly.
"""
MAX_COMPARED = 4
"""The largest number of passing edits that are compared by the likelihood of the whole program."""

Likelihood = Callable[[ProgramReading, Sequence[str]], Sequence[float]]
"""Returns the log-likelihood, in nats, of each given program as an answer to the statement of the program that was read."""


@dataclass(frozen=True)
class AskedSearch:
    """One search to be made."""

    arm: str
    """The arm that the search's attempt belongs to."""
    task: Task
    move: Move
    program: ProgramReading
    """The reading of the parent's program."""
    seed: int
    """The seed that is stored with the attempt. The search itself draws nothing at random."""
    tried: tuple[str, ...] = ()
    """Codes that were attempted before, which are not tried again."""

    @property
    def parent(self) -> Attempt:
        """Return the failed attempt whose program is searched."""
        assert self.move.parent is not None
        return self.move.parent


class Searching:
    """The searches that are under way.

    ``runner`` runs the tries. ``likelihood`` decides which of the edits that pass wins, and ``cache`` tests the program of the
    winner.
    """

    def __init__(self, runner: TestRunner, cache: VerdictCache, likelihood: Likelihood) -> None:
        self._runner, self._cache, self._likelihood = runner, cache, likelihood
        self._under_way: list[_Search] = []

    @property
    def pending(self) -> int:
        return len(self._under_way)

    @property
    def futures(self) -> list[Future[Any]]:
        """Return the futures that the searches wait for."""
        return [future for search in self._under_way for future in search.futures]

    def begin(self, asked: AskedSearch) -> None:
        """Begin one more search."""
        self._under_way.append(_Search(asked, self._runner, self._cache, self._likelihood))

    def finished(self) -> Iterator[Attempt]:
        """Advance all searches, and yield the attempts of those that are over. Raises SandboxError if tests could not be run."""
        for search in list(self._under_way):
            attempt = search.advance()
            if attempt is not None:
                self._under_way.remove(search)
                yield attempt


class _Search:
    """One search. It waits for the trace, then for the tries, and at last for the tests of the edit that won."""

    def __init__(self, asked: AskedSearch, runner: TestRunner, cache: VerdictCache, likelihood: Likelihood) -> None:
        self._asked, self._runner, self._cache, self._likelihood = asked, runner, cache, likelihood
        self._domain = domain_of(asked.task.domain)
        self._checks = asked.task.hidden if asked.move.hidden else asked.task.public
        self._wall_s = wall_s_of(asked.parent.public, runner.limits.wall_s)
        self._trace = self._begin_trace()
        self._search: EditSearch | None = None
        self._winner: Candidate | None = None
        self._tests: Tests | None = None

    @property
    def futures(self) -> list[Future[Any]]:
        """Return the futures that the search waits for now."""
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
            self._search = self._begin_search(self._trace)
        if not self._search.ended.done():
            return None
        self._search.ended.result()  # Raises the error of a search that failed.
        if not self._search.found:
            parent = self._asked.parent
            return self._attempt(parent.code, parent.verdict, parent.public, EXHAUSTED)
        if self._winner is None or self._tests is None:
            compared = self._search.found[:MAX_COMPARED]
            self._winner = likeliest(compared, lambda codes: self._likelihood(self._asked.program, codes))
            self._tests = self._cache.tests(self._winner.code, self._asked.task)
        if any(not future.done() for future in self._tests.futures):
            return None
        hidden = require_tested(self._tests.hidden.result(), f"{self._asked.task.id} (hidden checks)")
        return self._attempt(self._winner.code, hidden, public_of(self._tests, self._asked.task), EDITED)

    def _begin_trace(self) -> Future[Executed] | None:
        """Begin to run the failed program to see which lines its failing calls run. Return None if it is not Python."""
        if not traceable(self._domain):
            return None
        tracing = TracingRunner(self._runner, self._wall_s)
        trace = self._domain.judge(self._asked.parent.code, self._asked.task, self._checks, tracing)
        # A domain passes on the futures of its runner, and those of a ``TracingRunner`` hold no verdicts.
        return cast("Future[Executed]", trace)

    def _begin_search(self, trace: Future[Executed] | None) -> EditSearch:
        """Put the edits in order, by what the trace shows if there is one, and begin to try them."""
        task, program = self._asked.task, self._asked.program
        executed = failing_shares(trace.result()) if trace else None
        ordered = candidates(program, self._domain, hints_of(task, self._asked.parent.public.failures), executed)
        quick = QuickRunner(self._runner, self._wall_s)
        return EditSearch(
            worthwhile(ordered, program, self._domain, self._asked.tried),
            run=lambda code: self._domain.judge(code, task, self._checks, quick),
            max_tries=MAX_TRIES,
            certain=lambda verdict: require_tested(verdict, task.id),
        )

    def _attempt(self, code: str, hidden: Verdict, public: Verdict, finish: str) -> Attempt:
        asked, program = self._asked, self._asked.program
        assert self._search is not None
        return Attempt(
            task_id=asked.task.id,
            arm=asked.arm,
            sample=asked.move.sample,
            round=asked.move.round,
            parent=asked.parent.id,
            prompt=program.prompt,
            completion=self._domain.completion(code),
            code=code,
            verdict=hidden,
            public=public,
            n_prompt_tokens=len(program.prompt_ids),
            n_completion_tokens=0,
            seed=asked.seed,
            finish=finish,
            kind="edits",
            n_read_tokens=len(program.ids),
            n_tries=self._search.n_tries,
        )
