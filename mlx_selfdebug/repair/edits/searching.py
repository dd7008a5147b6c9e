"""Run the edit searches of a stream. Each search ends as an attempt.

    move --reading--> executed lines (another process) --> candidates in order --> tries --> the likeliest that passes --> tests

Nothing is decoded. What a search finds depends on the failed program alone. A search that was killed can therefore be run again,
with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.edits.candidates import Candidate, candidates, traceable, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.search import EditSearch, likeliest
from mlx_selfdebug.repair.edits.trying import QuickRunner, TracingRunner, failing_shares, wall_s_of
from mlx_selfdebug.repair.judging import Tests, VerdictCache, public_of, require_tested
from mlx_selfdebug.repair.policies import EXHAUSTED, Move
from mlx_selfdebug.repair.reading import ProgramReading
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

EDITED = "edited"
"""The ``finish`` of a search that found an edit which passes."""
MAX_TRIES = 150
"""The largest number of edits that one search runs.

Of 93 bugs put into training tasks, 300 tries mended no more than 150 did, and they mended one wrongly.
"""
MAX_COMPARED = 4
"""The largest number of passing edits that are compared by the likelihood of the whole program."""

Likelihood = Callable[[ProgramReading, Sequence[str]], Sequence[float]]
"""Returns the log-likelihood, in nats, of each of some programs as an answer to the statement of the program that was read."""


@dataclass(frozen=True)
class AskedSearch:
    """One search to be made."""

    arm: str
    task: Task
    move: Move
    program: ProgramReading
    """The reading of the parent's program."""
    seed: int
    tried: tuple[str, ...] = ()
    """Codes that were attempted before, which are not tried again."""

    @property
    def parent(self) -> Attempt:
        assert self.move.parent is not None
        return self.move.parent


class Searching:
    """The searches that are under way.

    ``runner`` runs the tries. Of the edits that pass, ``likelihood`` decides which one wins, and ``cache`` has its program tested.
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
        self._under_way.append(_Search(asked, self._runner, self._cache, self._likelihood))

    def finished(self) -> Iterator[Attempt]:
        """Advance all searches, and yield the attempts of those that are over. Raises SandboxError if tests could not be run."""
        for search in list(self._under_way):
            attempt = search.advance()
            if attempt is not None:
                self._under_way.remove(search)
                yield attempt


class _Search:
    """One search, which waits for the trace, then for the tries, and then for the tests of the edit that won."""

    def __init__(self, asked: AskedSearch, runner: TestRunner, cache: VerdictCache, likelihood: Likelihood) -> None:
        self._asked, self._runner, self._cache, self._likelihood = asked, runner, cache, likelihood
        self._domain = domain_of(asked.task.domain)
        self._wall_s = wall_s_of(asked.parent.public, runner.limits.wall_s)
        self._trace = self._traced()
        self._search: EditSearch | None = None
        self._chosen: Candidate | None = None
        self._tests: Tests | None = None

    @property
    def futures(self) -> list[Future[Any]]:
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
            self._search = self._begun(self._trace)
        if not self._search.ended.done():
            return None
        self._search.ended.result()
        if not self._search.found:
            return self._attempt(self._asked.parent.code, None, EXHAUSTED)
        if self._tests is None:
            self._chosen = self._choose(self._search.found)
            self._tests = self._cache.tests(self._chosen.code, self._asked.task)
        if any(not future.done() for future in self._tests.futures):
            return None
        assert self._chosen is not None
        return self._attempt(self._chosen.code, self._tests, EDITED)

    def _traced(self) -> Future[Any] | None:
        task, checks = self._asked.task, self._checks
        if not traceable(self._domain):
            return None
        return self._domain.judge(self._asked.parent.code, task, checks, TracingRunner(self._runner, self._wall_s))

    def _begun(self, trace: Future[Any] | None) -> EditSearch:
        task, program = self._asked.task, self._asked.program
        executed = failing_shares(trace.result()) if trace else None
        ordered = candidates(program, self._domain, hints_of(task, self._asked.parent.public.failures), executed)
        quick = QuickRunner(self._runner, self._wall_s)
        return EditSearch(
            worthwhile(ordered, program, self._domain, self._asked.tried),
            lambda code: self._domain.judge(code, task, self._checks, quick),
            MAX_TRIES,
            lambda verdict: require_tested(verdict, task.id),
        )

    @property
    def _checks(self) -> Checks:
        return self._asked.task.hidden if self._asked.move.hidden else self._asked.task.public

    def _choose(self, passing: Sequence[Candidate]) -> Candidate:
        return likeliest(passing[:MAX_COMPARED], lambda codes: self._likelihood(self._asked.program, codes))

    def _attempt(self, code: str, tests: Tests | None, finish: str) -> Attempt:
        asked, program, parent = self._asked, self._asked.program, self._asked.parent
        assert self._search is not None
        return Attempt(
            task_id=asked.task.id,
            arm=asked.arm,
            sample=asked.move.sample,
            round=asked.move.round,
            parent=parent.id,
            prompt=program.prompt,
            completion=self._domain.completion(code),
            code=code,
            verdict=require_tested(tests.hidden.result(), f"{asked.task.id} (hidden checks)")
            if tests
            else parent.verdict,
            public=public_of(tests, asked.task) if tests else parent.public,
            n_prompt_tokens=len(program.prompt_ids),
            n_completion_tokens=0,
            seed=asked.seed,
            finish=finish,
            kind="edits",
            n_read_tokens=len(program.ids),
            n_tries=self._search.n_tries,
        )
