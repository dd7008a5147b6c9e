"""The test runner: a program and its checks in, a verdict out. Many at a time, from any thread.

    >>> from mlx_selfdebug.tasks import Checks
    >>> with TestRunner(workers=1) as runner:
    ...     runner.run("def f(x): return x + x", Checks.from_asserts(["assert f(3) == 9"]), "f").failures[0].got
    '6'

The checks are trusted and run here; the program runs in a process of its own and only answers calls (see README.md).
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.sandbox.grading.checking import BrokenChecksError, Prepared, broken_checks, prepare, run_checks
from mlx_selfdebug.sandbox.grading.merging import merge
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.isolation import LEVEL, Isolation, describe_isolation, isolation_notice
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.processes.ending import settle
from mlx_selfdebug.sandbox.processes.process import ChildProcess, StartError
from mlx_selfdebug.sandbox.verdict import Verdict
from mlx_selfdebug.sandbox.wire.codec import PROGRAM

if TYPE_CHECKING:
    from mlx_selfdebug.tasks.checks import Checks

__all__ = ["Isolation", "Limits", "TestRunner", "describe_isolation", "isolation_notice"]

START_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class TestRunner:
    """``workers`` runs at a time (default: the processors this program may use), each within ``limits``."""

    __test__ = False
    isolation = LEVEL

    def __init__(self, workers: int | None = None, limits: Limits = Limits()) -> None:  # noqa: B008
        self.workers = workers or _n_processors()
        self.limits = limits
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        self._folder = tempfile.TemporaryDirectory(prefix="selfdebug-", ignore_cleanup_errors=True)

    def __enter__(self) -> TestRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not begun, wait for what runs (it ends within its limits), remove all folders."""
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def submit(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Future[Verdict]:
        """Test ``source``, in which ``entry_point`` must be a function or class; a program needs none. ``prelude`` is run before
        it, in the same module.

        The future never holds an exception of the candidate's: what goes wrong is in the verdict. RuntimeError once closed.
        """
        return self._pool.submit(self._judge, source, checks, entry_point, prelude)

    def run(self, source: str, checks: Checks, entry_point: str, *, prelude: str = "") -> Verdict:
        """``submit``, waited for."""
        return self.submit(source, checks, entry_point, prelude=prelude).result()

    def _judge(self, source: str, checks: Checks, entry_point: str, prelude: str) -> Verdict:
        started = time.monotonic()
        try:
            entry_point = PROGRAM if checks.kind == "program" else entry_point
            cases = [prepare(case.source, case.setup, entry_point) for case in checks.cases()]
            return merge([self._judge_prepared(case, source, entry_point, prelude) for case in cases])
        except (BrokenChecksError, StartError, OSError) as error:
            _log.error("a test run could not be made: %s", error)
            failures = broken_checks(error).failures
            return Verdict("infrastructure", failures, wall_s=time.monotonic() - started, isolation=LEVEL)

    def _judge_prepared(self, prepared: Prepared, source: str, entry_point: str, prelude: str) -> Verdict:
        started = time.monotonic()
        with self._started() as process:
            candidate = RemoteCandidate(process.channel, self.limits, source)
            candidate.load(source, entry_point, prelude)
            report = run_checks(prepared, candidate, entry_point)
            if report.silence == "exit":
                process.wait_exit()
            ending = process.end()
            report = settle(report, ending, self.limits)
        if report.outcome == "infrastructure":
            _log.error("broken checks for %s: %s", entry_point, report.failures[0].error)
        return Verdict(
            outcome=report.outcome,
            failures=report.failures,
            n_passed=report.n_passed,
            n_checks=report.n_checks,
            wall_s=time.monotonic() - started,
            cpu_s=ending.cpu_s,
            peak_bytes=ending.peak_bytes,
            isolation=LEVEL,
        )

    @contextmanager
    def _started(self) -> Iterator[ChildProcess]:
        """A child in an empty folder, both gone afterwards. Raises StartError after three attempts."""
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        process: ChildProcess | None = None
        try:
            process = self._start(folder)
            yield process
        finally:
            if process:
                process.end()
            _remove(folder)

    def _start(self, folder: Path) -> ChildProcess:
        for attempt in range(1, START_ATTEMPTS):
            try:
                return ChildProcess(self.limits, folder)
            except StartError as error:
                _log.warning("start %d of a test process failed: %s", attempt, error)
                time.sleep(0.1 * attempt)
        return ChildProcess(self.limits, folder)


def _n_processors() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _remove(folder: Path) -> None:
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=_force)
    else:
        shutil.rmtree(folder, onerror=_force)


def _force(remove: Callable[..., Any], path: str, _error: object) -> None:
    """Candidates may make folders that cannot be listed; what still stays is removed with the runner's own folder."""
    try:
        os.chmod(os.path.dirname(path), stat.S_IRWXU)
        os.chmod(path, stat.S_IRWXU)
        remove(path)
    except OSError:
        return
