"""The test runner: a program and its checks in, a verdict out. Many at a time, from any thread.

    >>> from mlx_selfdebug.tasks import Checks
    >>> with TestRunner(workers=1) as runner:
    ...     runner.run("def f(x): return x + x", Checks.from_asserts(["assert f(3) == 9"]), "f").failures[0].got
    '6'

Neither program nor checks ever run in this process: each runs in a confined process of its own (see README.md).
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

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

ATTEMPTS = 3
MAX_WAITING = 10_000
MAX_PREPARED = 4096
MAX_PREPARED_BYTES = 1 << 18
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class TestRunner:
    """``workers`` runs at a time (default: the processors this program may use), each within ``limits``.

    ``level`` is the weakest isolation that is accepted (``full``, ``weaker`` or ``none``, see ``describe_isolation``);
    ``packages`` names installed packages, such as numpy, that programs and checks may import. Raises SandboxError if the
    machine gives less than ``level``, ValueError for a package that is not installed.
    """

    __test__ = False

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008
        level: Level = "full",
        *,
        packages: Sequence[str] = (),
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.workers = workers or _n_processors()
        self.limits = limits
        self.description = describe_isolation(packages=tuple(packages), without=without)
        require_level(self.description, level)
        self._folder = tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True)
        setup = Setup(
            this_interpreter(packages),
            limits,
            # On macOS the walls stand before the zygote does, and that folder is outside.
            folder="/" if sys.platform == "darwin" else self._folder.name,
            packages=tuple(packages),
            without=without,
        )
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._all = [Worker(setup) for _ in range(self.workers)]
        for worker in self._all:
            self._idle.put(worker)
        self._prepared = _PreparedCache()

    @property
    def isolation(self) -> Level:
        """The level in force, as probed."""
        return self.description.level

    def __enter__(self) -> TestRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not begun, wait for what runs (it ends within its limits), end all processes."""
        self._pool.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.close()
        self._folder.cleanup()

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
        """Test ``source``, in which ``entry_point`` must be a function or class; a program needs none. ``prelude`` is run before
        it, in the same module. ``wall_s`` shortens ``limits.wall_s`` for this run (a longer one does not lengthen it).

        ``stop_at_first_failure`` ends the run at its first failed check, or case of a program. The same programs pass, and the
        failure has the same facts. ``n_checks`` counts the checks that were begun, and the outcome is that of the failure, though
        a full run might have found that the program dies later, which decides there.

        The future never holds an exception of the candidate's: what goes wrong is in the verdict. Blocks while
        ``MAX_WAITING`` runs are waiting. ValueError if ``wall_s`` is not positive, RuntimeError once closed.
        """
        job = _Job(source, checks, entry_point, prelude, self._bounded(wall_s), stop_at_first_failure)
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
        """``submit``, waited for."""
        return self.submit(
            source, checks, entry_point, prelude=prelude, wall_s=wall_s, stop_at_first_failure=stop_at_first_failure
        ).result()

    def submit_traced(
        self, source: str, checks: Checks, entry_point: str, *, prelude: str = "", wall_s: float | None = None
    ) -> Future[Executed]:
        """Run ``source`` for the lines that its calls run (see ``executed_lines``), not for a verdict. Raises as ``submit``."""
        job = _Job(source, checks, entry_point, prelude, self._bounded(wall_s), traced=True)
        return self._enqueue(self._trace, job)

    def _bounded(self, wall_s: float | None) -> float:
        if wall_s is None:
            return self.limits.wall_s
        if not wall_s > 0:
            raise ValueError(f"wall_s is {wall_s!r}; it must be positive")
        return min(wall_s, self.limits.wall_s)

    def _enqueue(self, work: Callable[[_Job], _T], job: _Job) -> Future[_T]:
        self._waiting.acquire()
        try:
            future = self._pool.submit(work, job)
        except RuntimeError:
            self._waiting.release()
            raise
        future.add_done_callback(lambda _: self._waiting.release())
        return future

    def _judge(self, job: _Job) -> Verdict:
        verdicts: list[Verdict] = []
        for case in job.cases():
            verdicts.append(self._judge_case(case))
            if job.stop_at_first_failure and not verdicts[-1].passed:
                break
        return merge(verdicts)

    def _trace(self, job: _Job) -> Executed:
        """Trace all cases as one run, which loads what the first did."""
        cases: list[Executed] = []
        for case in job.cases():
            cases.append(self._tried(case).executed)
            if sum(len(executed.calls) for executed in cases) >= MAX_CALLS:
                break
        calls = tuple(call for executed in cases for call in executed.calls)
        return Executed(calls[:MAX_CALLS], cases[0].loading)

    def _judge_case(self, job: _Job) -> Verdict:
        started = time.monotonic()
        result = self._tried(job)
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

    def _tried(self, job: _Job) -> Result:
        """Trouble of the machine is tried again, with new processes; what stays is reported as such."""
        key = (job.checks.source, job.checks.setup, job.entry_point)
        error: WorkerError | None = None
        for attempt in range(1, ATTEMPTS + 1):
            known = self._prepared.get(key)
            request = job.request(known.data, self.limits.output_bytes)
            try:
                with self._worker() as worker:
                    # A shared grader that failed may have been spoilt by an earlier run.
                    result = worker.run(request, shared=known.shareable and attempt == 1)
            except WorkerError as caught:
                _log.warning("attempt %d of a test run failed: %s", attempt, caught)
                error = caught
                continue
            if result.prepared:
                self._prepared.put(key, result.prepared)
            return result
        assert error is not None
        return Result(broken_checks(error), Ending(0, 0.0, 0))

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


@dataclass(frozen=True)
class _Job:
    """Hold what is asked of one run."""

    source: str
    checks: Checks
    entry_point: str
    prelude: str
    wall_s: float
    stop_at_first_failure: bool = False
    traced: bool = False

    def cases(self) -> list[_Job]:
        entry_point = PROGRAM if self.checks.kind == "program" else self.entry_point
        return [replace(self, checks=case, entry_point=entry_point) for case in self.checks.cases()]

    def request(self, prepared: bytes, output_bytes: int) -> Request:
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


class _PreparedCache:
    """The latest prepared checks, by their texts. Safe for threads."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str, str], PreparedChecks] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, str]) -> PreparedChecks:
        with self._lock:
            return self._entries.get(key, _NOTHING)

    def put(self, key: tuple[str, str, str], prepared: PreparedChecks) -> None:
        if len(prepared.data) > MAX_PREPARED_BYTES:
            prepared = PreparedChecks(b"", prepared.shareable)
        with self._lock:
            self._entries[key] = prepared
            if len(self._entries) > MAX_PREPARED:
                self._entries.popitem(last=False)


_NOTHING = PreparedChecks()


def _n_processors() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
