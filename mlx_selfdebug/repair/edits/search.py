"""One search: the edits of a failed program are run in their order until one passes the public checks.

Several runs are under way at once, but their results are taken in the order of the edits, so that what a search finds does not
depend on which run ended first. After the first edit that passes, a few more are tried: of all that pass, the one wins that the
model finds likeliest as a whole program, since weak checks let wrong edits pass too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

from mlx_selfdebug.repair.edits.candidates import Candidate
from mlx_selfdebug.repair.edits.trying import TIMEOUTS
from mlx_selfdebug.values.verdict import Verdict

AHEAD = 8
"""Runs of one search that are under way at a time."""
FURTHER = 40
"""Edits tried after the first that passed, to have a choice."""

MAX_TIMEOUTS = 50
"""Edits that may run into the time limit before a search gives up: where the bug is an endless loop, nearly all of them would."""

Run = Callable[[str], "Future[Verdict]"]
"""Runs a program against the checks that the search goes by."""
Certain = Callable[[Verdict], Verdict]
"""Returns a verdict, or raises SandboxError for one that says that the machine failed: that is no failure of an edit."""


class EditSearch:
    """The search for one failed program: at most ``most`` edits are run.

    It drives itself, in the threads that the runs end in, so that it goes on while the caller decodes. ``ended`` is done when it
    is over; then ``found`` are the edits that passed, in the order of the tries, and ``n_tries`` counts those that were looked at.
    """

    def __init__(
        self, candidates: Iterable[Candidate], run: Run, most: int, certain: Certain = lambda verdict: verdict
    ) -> None:
        self.ended: Future[None] = Future()
        self.found: list[Candidate] = []
        self.n_tries = 0
        self._n_timeouts = 0
        self._waiting: Iterator[Candidate] = iter(candidates)
        self._run = run
        self._certain = certain
        self._end = most
        self._under_way: deque[tuple[Candidate, Future[Verdict]]] = deque()
        self._lock = threading.Lock()
        self._advance()

    def _advance(self, _: object = None) -> None:
        """Take the results that are there, in order, and begin as many runs as ended."""
        # Whoever holds the lock looks again after letting go of it, so nobody has to wait here.
        while not self.ended.done() and self._has_news() and self._lock.acquire(blocking=False):
            try:
                self._take()
                self._begin_more()
            except BaseException as error:
                self._finish(error)
            finally:
                self._lock.release()

    def _has_news(self) -> bool:
        try:
            return self._under_way[0][1].done()
        except IndexError:  # another thread has just taken the last one
            return True

    def _take(self) -> None:
        while self._under_way and self.n_tries < self._end and self._under_way[0][1].done():
            candidate, future = self._under_way.popleft()
            self.n_tries += 1
            verdict = self._certain(future.result())
            self._n_timeouts += verdict.outcome in TIMEOUTS
            if self._n_timeouts >= MAX_TIMEOUTS:
                self._end = self.n_tries
            if verdict.passed:
                if not self.found:
                    self._end = min(self._end, self.n_tries + FURTHER)
                self.found.append(candidate)

    def _begin_more(self) -> None:
        while len(self._under_way) < min(AHEAD, self._end - self.n_tries):
            candidate = next(self._waiting, None)
            if candidate is None:
                break
            future = self._run(candidate.code)
            self._under_way.append((candidate, future))
            future.add_done_callback(self._advance)
        if self.n_tries >= self._end or not self._under_way:
            self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        """The search is over. What is still under way does not count any more."""
        for _, future in self._under_way:
            future.cancel()
        self._under_way.clear()
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def likeliest(found: Sequence[Candidate], log_likelihood: Callable[[Sequence[str]], Sequence[float]]) -> Candidate:
    """Return, of edits that pass, the one whose whole program is likeliest; ``log_likelihood`` gives that of each, in nats."""
    if len(found) == 1:
        return found[0]
    likelihoods = log_likelihood([candidate.code for candidate in found])
    best = max(range(len(found)), key=lambda i: (likelihoods[i], -i))
    return found[best]
