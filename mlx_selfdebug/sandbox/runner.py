"""Test a program against its checks and return a verdict. Many tests can run at a time, and any thread may ask for them.

    >>> from mlx_selfdebug.tasks import Checks
    >>> with TestRunner(workers=1) as runner:
    ...     runner.run("def f(x): return x + x", Checks.from_asserts(["assert f(3) == 9"]), "f").failures[0].got
    '6'

Neither the program nor the checks ever run in this process. Each of them runs in a confined process (see README.md).
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.executed import MAX_CALLS, Executed
from mlx_selfdebug.sandbox.grading.merging import merge
from mlx_selfdebug.sandbox.grading.report import broken_checks
from mlx_selfdebug.sandbox.isolation import Level, describe_isolation, require_level
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.ending import Ending, settle
from mlx_selfdebug.sandbox.processes.launch import Setup
from mlx_selfdebug.sandbox.processes.worker import PreparedChecks, Result, Worker, WorkerError
from mlx_selfdebug.sandbox.wire.codec import PROGRAM
from mlx_selfdebug.sandbox.wire.messages import Request
from mlx_selfdebug.values.verdict import Verdict

if TYPE_CHECKING:
    from mlx_selfdebug.values.checks import Checks

MAX_ATTEMPTS = 3
"""The number of attempts at a run after which it is reported as a fault of the machine."""
MAX_WAITING = 10_000
"""The maximum number of runs that are queued or running; beyond that, ``submit`` blocks."""
MAX_PREPARED = 4096
"""The maximum number of prepared checks in the cache."""
MAX_CACHED_BYTES = 1 << 18
"""The maximum length in bytes of prepared checks in the cache. Longer ones are prepared again in every run."""
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manner:
    """The manner in which a runner runs programs.

    Some domains run programs by other means than ``TestRunner.submit``, such as the test suite of a project. They read here how
    long a run may take and when it ends.
    """

    wall_s: float
    """Seconds that a program may take."""
    stop_at_first_failure: bool = False
    """Whether a run ends at its first failed check (``stop_at_first_failure`` of ``TestRunner.submit``)."""
    traced: bool = False
    """Whether a run only finds out which lines a program runs. Its future then holds an ``Executed`` instead of a verdict."""


class TestRunner:
    """A pool of confined processes that tests programs against checks.

    It makes ``workers`` runs at a time, each within ``limits``. By default there are as many workers as processors that this
    program may use. ``level`` is the weakest isolation that is accepted: ``full``, ``weaker`` or ``none`` (see
    ``describe_isolation``). ``packages`` names installed packages, such as numpy, that programs and checks may import.
    ``without`` names confinement layers to leave out. Raises SandboxError if the machine gives less isolation than ``level``,
    and ValueError for a package that is not installed.
    """

    __test__ = False  # otherwise pytest would collect this class for its name

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008
        level: Level = "full",
        *,
        packages: Sequence[str] = (),
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.workers = workers or n_processors()
        self.limits = limits
        self.description = describe_isolation(packages=tuple(packages), without=without)
        require_level(self.description, level)
        self._folder = tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True)
        setup = Setup(
            this_interpreter(packages),
            limits,
            # On macOS the zygote is confined before it starts, and the temporary folder is outside of what it may reach.
            folder="/" if sys.platform == "darwin" else self._folder.name,
            packages=tuple(packages),
            without=without,
            required=self.description.in_force,
        )
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._free_places = threading.BoundedSemaphore(MAX_WAITING)
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._all_workers = [Worker(setup) for _ in range(self.workers)]
        for worker in self._all_workers:
            self._idle.put(worker)
        self._prepared = _PreparedCache()
        self._level: Level = level
        self._kept: dict[Hashable, Any] = {}
        self._kept_open = ExitStack()
        self._opening = threading.Lock()

    @property
    def isolation(self) -> Level:
        """The level of isolation that is in force, as the probes found it."""
        return self.description.level

    def __enter__(self) -> TestRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the runs that have not begun, wait for the others, and end all processes.

        The others end within their limits. The resources that ``kept`` has opened are closed as well.
        """
        self._kept_open.close()
        self._kept.clear()
        self._pool.shutdown(cancel_futures=True)
        for worker in self._all_workers:
            worker.close()
        self._folder.cleanup()

    @property
    def manner(self) -> Manner:
        """The manner in which ``submit`` runs programs, unless its arguments say otherwise."""
        return Manner(self.limits.wall_s)

    def kept(self, key: Hashable, opened: Callable[[Level], AbstractContextManager[_T]]) -> _T:
        """Return the resource that is kept open under ``key``, and open it first if there is none.

        This is for domains that run programs by other means than ``submit``. The domain of projects, for example, keeps a process
        with the project's test suite open. ``opened`` is called with the weakest isolation that this runner accepts, and returns
        a context manager of the resource. The resource stays open until this runner is closed. Raises whatever ``opened`` raises.
        """
        with self._opening:
            if key not in self._kept:
                self._kept[key] = self._kept_open.enter_context(opened(self._level))
            resource: _T = self._kept[key]
        return resource

    def submit(
        self,
        source: str,
        checks: Checks,
        entry_point: str,
        *,
        prelude: str = "",
        wall_s: float | None = None,
        stop_at_first_failure: bool = False,
    ) -> Future[Verdict]:
        """Queue a test of ``source`` and return a future that will hold its verdict.

        The source must define ``entry_point`` as a function or class; a whole program needs no entry point. ``prelude`` runs
        before the source, in the same module. ``wall_s`` shortens ``limits.wall_s`` for this run; a longer time does not
        lengthen it.

        ``stop_at_first_failure`` ends the run at its first failed check, or at the first failed case of a program. The same
        programs pass as in a full run, and the failure has the same facts. ``n_checks`` then counts the checks that were begun.
        The outcome is that of the failure. In a full run it may be another, since a program that dies later gets the outcome of
        its death.

        The future never holds an exception of the candidate: whatever goes wrong is in the verdict. Blocks while
        ``MAX_WAITING`` runs are waiting. Raises ValueError if ``wall_s`` is not positive, and RuntimeError once the runner is
        closed.
        """
        job = _Job(source, checks, entry_point, prelude, self._bounded_wall_s(wall_s), stop_at_first_failure)
        return self._enqueue(self._judge, job)

    def run(
        self,
        source: str,
        checks: Checks,
        entry_point: str,
        *,
        prelude: str = "",
        wall_s: float | None = None,
        stop_at_first_failure: bool = False,
    ) -> Verdict:
        """Do the same as ``submit``, wait for the verdict and return it."""
        return self.submit(
            source, checks, entry_point, prelude=prelude, wall_s=wall_s, stop_at_first_failure=stop_at_first_failure
        ).result()

    def submit_traced(
        self, source: str, checks: Checks, entry_point: str, *, prelude: str = "", wall_s: float | None = None
    ) -> Future[Executed]:
        """Queue a run that gives no verdict, confined as any run is, and return a future of the lines that each call ran.

        The program counts its own lines, so a hostile program can report anything it likes. Use the result to order what is tried
        next, never to decide whether a program is right.

        The first 64 calls are kept. An operation of the checks on an object of the program (a method call, the next element)
        counts as a call, just like a call of the entry point. A program that reads input and prints makes one call per case. A
        call that runs no line of the source is left out. Only the lines of the thread that is called are counted, and no line of
        ``prelude``.

        A call is ended with an exception after 100,000 lines, so a call that loops for ever shows its loop and the checks go on.
        A call that hangs within one line, or dies, shows the lines until then; their counts may be too low. The result is empty
        if the run could not be made. Raises what ``submit`` raises.
        """
        job = _Job(source, checks, entry_point, prelude, self._bounded_wall_s(wall_s), traced=True)
        return self._enqueue(self._trace, job)

    def _bounded_wall_s(self, wall_s: float | None) -> float:
        """Return the seconds that a run may take, at most ``limits.wall_s``. Raises ValueError if ``wall_s`` is not positive."""
        if wall_s is None:
            return self.limits.wall_s
        if not wall_s > 0:
            raise ValueError(f"wall_s is {wall_s!r}; it must be positive")
        return min(wall_s, self.limits.wall_s)

    def _enqueue(self, work: Callable[[_Job], _T], job: _Job) -> Future[_T]:
        """Have a thread of the pool do ``work(job)``. Blocks while too many runs are waiting."""
        self._free_places.acquire()
        try:
            future = self._pool.submit(work, job)
        except RuntimeError:  # the runner is closed
            self._free_places.release()
            raise
        future.add_done_callback(lambda _: self._free_places.release())
        return future

    def _judge(self, job: _Job) -> Verdict:
        """Run every case of a job, and return one verdict on all of them."""
        verdicts: list[Verdict] = []
        for case in job.cases():
            verdicts.append(self._judge_case(case))
            if job.stop_at_first_failure and not verdicts[-1].passed:
                break
        return merge(verdicts)

    def _trace(self, job: _Job) -> Executed:
        """Trace every case until there are enough calls, and join the results. ``loading`` is that of the first case."""
        cases: list[Executed] = []
        for case in job.cases():
            cases.append(self._run_with_retries(case).executed)
            if sum(len(executed.calls) for executed in cases) >= MAX_CALLS:
                break
        calls = tuple(call for executed in cases for call in executed.calls)
        return Executed(calls[:MAX_CALLS], cases[0].loading)

    def _judge_case(self, job: _Job) -> Verdict:
        """Run one case, and return the verdict on it."""
        started = time.monotonic()
        result = self._run_with_retries(job)
        report, ending = settle(result.report, result.ending, self.limits), result.ending
        if report.outcome == "infrastructure":
            _log.error("a test run of %s could not be made: %s", job.entry_point, report.failures[0].error)
        return Verdict(
            outcome=report.outcome,
            failures=report.failures,
            n_passed=report.n_passed,
            n_checks=report.n_checks,
            wall_s=time.monotonic() - started,
            cpu_s=ending.cpu_s,
            peak_bytes=ending.peak_bytes,
            isolation=self.isolation,
        )

    def _run_with_retries(self, job: _Job) -> Result:
        """Make the run and return its result. If the machine fails, repeat the run with new processes.

        If the machine fails ``MAX_ATTEMPTS`` times, the outcome in the report is ``infrastructure``.
        """
        key = (job.checks.source, job.checks.setup, job.entry_point)
        error: WorkerError | None = None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            prepared = self._prepared.get(key)
            request = job.request(prepared.data, self.limits.output_bytes)
            try:
                with self._worker() as worker:
                    # An earlier run may have spoilt a shared grader, so a second attempt gets a grader of its own.
                    result = worker.run(request, shared=prepared.shareable and attempt == 1)
            except WorkerError as caught:
                _log.warning("attempt %d of a test run failed: %s", attempt, caught)
                error = caught
                continue
            if result.prepared:
                self._prepared.put(key, result.prepared)
            return result
        assert error is not None  # every attempt has failed
        return Result(broken_checks(error), Ending(0, 0.0, 0))

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        """Wait for an idle worker, and yield it for the length of the block."""
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


@dataclass(frozen=True)
class _Job:
    """A run that was asked for, with the arguments of ``TestRunner.submit``."""

    source: str
    checks: Checks
    entry_point: str
    prelude: str
    wall_s: float
    stop_at_first_failure: bool = False
    traced: bool = False
    """Whether the run only finds out which lines are run."""

    def cases(self) -> list[_Job]:
        """Return a job for each case, since each runs in a process of its own. Checks of a function are one case."""
        entry_point = PROGRAM if self.checks.kind == "program" else self.entry_point
        return [replace(self, checks=case, entry_point=entry_point) for case in self.checks.cases()]

    def request(self, prepared: bytes, output_bytes: int) -> Request:
        """Return the message to the grader. It holds the text of the checks only if there are no prepared ones."""
        return Request(
            source=self.source,
            prelude=self.prelude,
            entry_point=self.entry_point,
            checks="" if prepared else self.checks.source,
            setup="" if prepared else self.checks.setup,
            prepared=prepared,
            wall_s=self.wall_s,
            output_bytes=output_bytes,
            stop_at_first_failure=self.stop_at_first_failure,
            traced=self.traced,
        )


_NOT_PREPARED = PreparedChecks()


class _PreparedCache:
    """A cache of the most recently prepared checks, keyed by their source, setup and entry point. Threads may share it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str, str], PreparedChecks] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, str]) -> PreparedChecks:
        with self._lock:
            return self._entries.get(key, _NOT_PREPARED)

    def put(self, key: tuple[str, str, str], prepared: PreparedChecks) -> None:
        """Keep prepared checks. Of those that are too long, only ``shareable`` is kept."""
        if len(prepared.data) > MAX_CACHED_BYTES:
            prepared = PreparedChecks(b"", prepared.shareable)
        with self._lock:
            self._entries[key] = prepared
            if len(self._entries) > MAX_PREPARED:
                self._entries.popitem(last=False)


def n_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
