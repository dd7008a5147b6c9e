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
from typing import TYPE_CHECKING

from mlx_selfdebug.sandbox.confinement.layout import this_interpreter
from mlx_selfdebug.sandbox.grading.merging import merge
from mlx_selfdebug.sandbox.grading.report import broken_checks
from mlx_selfdebug.sandbox.isolation import Level, describe_isolation, require_level
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.ending import Ending, settle
from mlx_selfdebug.sandbox.processes.launch import Setup
from mlx_selfdebug.sandbox.processes.worker import PreparedChecks, Result, Worker, WorkerError
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.sandbox.wire.codec import PROGRAM
from mlx_selfdebug.sandbox.wire.messages import Request

if TYPE_CHECKING:
    from mlx_selfdebug.tasks.checks import Checks

ATTEMPTS = 3
MAX_WAITING = 10_000
MAX_PREPARED = 4096
MAX_PREPARED_BYTES = 1 << 18
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

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Test ``source``, in which ``entry_point`` must be a function or class; a program needs none. ``prelude`` is run before
        it, in the same module.

        The future never holds an exception of the candidate's: what goes wrong is in the verdict. Blocks while
        ``MAX_WAITING`` runs are waiting. RuntimeError once closed.
        """
        self._waiting.acquire()
        try:
            future = self._pool.submit(self._judge, source, checks, entry_point, prelude)
        except RuntimeError:
            self._waiting.release()
            raise
        future.add_done_callback(lambda _: self._waiting.release())
        return future

    def run(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Verdict:
        """``submit``, waited for."""
        return self.submit(source, checks, entry_point, prelude=prelude).result()

    def _judge(self, source: str, checks: Checks, entry_point: str, prelude: str) -> Verdict:
        entry_point = PROGRAM if checks.kind == "program" else entry_point
        return merge([self._judge_case(source, case, entry_point, prelude) for case in checks.cases()])

    def _judge_case(self, source: str, checks: Checks, entry_point: str, prelude: str) -> Verdict:
        started = time.monotonic()
        result = self._tried(source, checks, entry_point, prelude)
        report, ending = settle(result.report, result.ending, self.limits), result.ending
        if report.outcome == "infrastructure":
            _log.error("a test run of %s could not be made: %s", entry_point, report.failures[0].error)
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

    def _tried(self, source: str, checks: Checks, entry_point: str, prelude: str) -> Result:
        """Trouble of the machine is tried again, with new processes; what stays is reported as such."""
        key = (checks.source, checks.setup, entry_point)
        error: WorkerError | None = None
        for attempt in range(1, ATTEMPTS + 1):
            known = self._prepared.get(key)
            texts = ("", "") if known.data else (checks.source, checks.setup)
            limits = self.limits
            request = Request(source, prelude, entry_point, *texts, known.data, limits.wall_s, limits.output_bytes)
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
        return Result(broken_checks(error), Ending(0, 0.0, 0), None)

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


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
