"""Make the futures of verdicts that come from somewhere else than the test runner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mlx_selfdebug.domains.base import Runner
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome, Verdict

_S = TypeVar("_S")
_T = TypeVar("_T")


def derived(source: Future[_S], read: Callable[[_S], _T]) -> Future[_T]:
    """Return a future of what ``read`` returns for the result of ``source``. Cancelling it cancels ``source`` as well."""
    future: Future[_T] = Future()

    def take(done: Future[_S]) -> None:
        if done.cancelled() or not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(read(done.result()))
        except BaseException as error:
            future.set_exception(error)

    source.add_done_callback(take)
    future.add_done_callback(lambda done: done.cancelled() and source.cancel())
    return future


def not_run(outcome: Outcome, error: ErrorFact, runner: Runner, isolation: str, n_checks: int) -> Future[Any]:
    """Return a finished future for code that cannot be run: a verdict with ``error``, or an empty Executed if the runner traces."""
    verdict = Verdict(outcome, (Failure("", error=error),), n_checks=n_checks, isolation=isolation)
    future: Future[Any] = Future()
    future.set_result(Executed() if runner.manner.traced else verdict)
    return future
