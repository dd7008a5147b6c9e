"""Run one search: try the edits of a failed program in their order until some pass the checks that the search goes by.

    search = EditSearch(candidates, run=lambda candidate: judge(candidate.code), max_tries=150)
    search.ended.result()                                   # waits; the caller may do something else instead
    best = likeliest(search.passing, log_likelihood)

Several edits are run at once, but their results are taken in the order of the edits. So the result of a search does not depend on
which run ended first. Weak checks let wrong edits pass too, so more edits are tried after the first that passes. ``likeliest`` then
chooses the edit whose whole program the model finds likeliest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from mlx_selfdebug.repair.edits.candidates import Candidate
from mlx_selfdebug.repair.edits.trying import TIMEOUTS
from mlx_selfdebug.values.verdict import Verdict

MAX_RUNS = 8
"""The largest number of edits of one search that are run at a time."""
FURTHER = 40
"""The number of edits that are still tried after the first one that passed, to have a choice."""
MAX_TIMEOUTS = 50
"""The number of edits that run into the time limit before a search gives up.

If the bug is an endless loop, nearly all edits run into the limit.
"""

RequireTested = Callable[[Verdict], Verdict]
"""Returns the verdict unchanged, or raises SandboxError if the tests could not be run, so that nothing is known about the edit."""


C = TypeVar("C", bound=Candidate)


class EditSearch(Generic[C]):
    """The search for an edit of one failed program. It begins at once.

    The search goes on in the threads in which its runs end, so the caller may decode meanwhile.

    Args:
        candidates: the edited programs, in the order in which to try them.
        run: begins to run a candidate against the checks that the search goes by.
        max_tries: the largest number of candidates to run.
        require_tested: checks each verdict; by default every verdict counts.
        further: the number of candidates to try after the first that passed.
    """

    ended: Future[None]
    """Is done when the search is over. Its exception is the error of the search, if there was one."""
    passing: list[C]
    """The candidates that passed so far, in the order of the tries."""
    n_tries: int
    """The number of candidates whose results were taken so far."""

    def __init__(
        self,
        candidates: Iterable[C],
        run: Callable[[C], Future[Verdict]],
        max_tries: int,
        require_tested: RequireTested = lambda verdict: verdict,
        *,
        further: int = FURTHER,
    ) -> None:
        self.ended = Future()
        self.passing = []
        self.n_tries = 0
        self._n_timeouts = 0
        self._waiting: Iterator[C] = iter(candidates)
        self._run = run
        self._require_tested = require_tested
        self._max_tries, self._further = max_tries, further
        self._under_way: deque[tuple[C, Future[Verdict]]] = deque()
        """The candidates that are being run, in the order of the tries."""
        self._lock = threading.Lock()
        self._advance()

    def close(self) -> None:
        """End the search with the results that were taken so far. Runs that are under way still end by themselves."""
        self._max_tries = 0
        self._advance()

    def _advance(self, _: Future[Verdict] | None = None) -> None:
        """Take the results that have arrived, in order, and begin new runs in their place. Each run calls this when it ends."""
        # The lock guards the state. A thread that does not get the lock returns at once. No result is missed by this, because the
        # thread that holds the lock looks for more results after it has released the lock.
        while not self.ended.done() and self._has_result() and self._lock.acquire(blocking=False):
            try:
                self._take_results()
                self._begin_runs()
            except BaseException as error:
                self._finish(error)
            finally:
                self._lock.release()

    def _has_result(self) -> bool:
        """Return whether the next result in order has arrived, or nothing is under way."""
        try:
            return self._under_way[0][1].done()
        except IndexError:  # At the beginning, or if another thread has just taken the last result.
            return True

    def _take_results(self) -> None:
        """Take the results that have arrived in the order of the tries. They may lower the number of tries that are left."""
        while self._under_way and self.n_tries < self._max_tries and self._under_way[0][1].done():
            candidate, future = self._under_way.popleft()
            self.n_tries += 1
            verdict = self._require_tested(future.result())
            self._n_timeouts += verdict.outcome in TIMEOUTS
            if self._n_timeouts >= MAX_TIMEOUTS:
                self._max_tries = self.n_tries
            if verdict.passed:
                if not self.passing:
                    self._max_tries = min(self._max_tries, self.n_tries + self._further)
                self.passing.append(candidate)

    def _begin_runs(self) -> None:
        """Begin as many runs as there is room for, or end the search if nothing is left to run."""
        while len(self._under_way) < min(MAX_RUNS, self._max_tries - self.n_tries):
            candidate = next(self._waiting, None)
            if candidate is None:
                break
            future = self._run(candidate)
            self._under_way.append((candidate, future))
            future.add_done_callback(self._advance)
        if self.n_tries >= self._max_tries or not self._under_way:
            self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        """End the search, with the error if there was one. Runs that are still under way no longer count."""
        if self.ended.done():  # Another thread ended it just before this one got the lock.
            return
        for _, future in self._under_way:
            future.cancel()
        self._under_way.clear()
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def likeliest(passing: Sequence[Candidate], log_likelihood: Callable[[Sequence[str]], Sequence[float]]) -> Candidate:
    """Return the candidate whose whole program is likeliest. Of equally likely candidates, the first is returned.

    ``log_likelihood`` returns the log-likelihood of each program, in nats. It is not called for a single candidate.
    """
    if len(passing) == 1:
        return passing[0]
    likelihoods = log_likelihood([candidate.code for candidate in passing])
    best = max(range(len(passing)), key=lambda i: (likelihoods[i], -i))
    return passing[best]
