"""Run the checks of one candidate on the trusted side.

The setup code runs first, then ``check(stub)``, where the stub stands in for the candidate. Every assert is recorded.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from mlx_selfdebug.sandbox.grading.asserts import CHECK, RECORDER, Compiled, check_name, compile_checks
from mlx_selfdebug.sandbox.grading.handles import EntryPoint
from mlx_selfdebug.sandbox.grading.namespace import trusted_namespace
from mlx_selfdebug.sandbox.grading.recorder import Recorder
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate, StopChecks
from mlx_selfdebug.sandbox.grading.report import Report, broken_checks
from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome

_COMPILING = threading.Lock()
_CHECK_NAMES = {CHECK, check_name(CHECK)}


class BrokenChecksError(Exception):
    """An error about checks that do not compile or are empty."""


@dataclass(frozen=True)
class Prepared:
    """Checks that are ready to run. The same object can serve many candidates and threads."""

    setup: CodeType
    checks: Compiled


@lru_cache(maxsize=1024)
def prepare(source: str, setup: str, entry_point: str) -> Prepared:
    """Compile the checks and their setup. Raises BrokenChecksError if that fails."""
    if not source.strip():
        raise BrokenChecksError("there are no checks: their source is empty")
    try:
        # Checks compare literals with ``is`` and contain odd escapes. Warnings about that are for their authors, not for whoever
        # runs them.
        with _COMPILING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Prepared(compile(setup, "<setup>", "exec", dont_inherit=True), compile_checks(source, entry_point))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BrokenChecksError(f"the checks do not compile: {error}") from error


def run_checks(
    prepared: Prepared, candidate: RemoteCandidate, entry_point: str, recorder: Recorder | None = None
) -> Report:
    """Run the checks to their end and return the report.

    They are run even if the candidate is dead, so that all of them are counted. A ``recorder`` with ``stop_at_first_failure``
    ends them at the first failure.
    """
    recorder = recorder or Recorder(prepared.checks, candidate)
    if candidate.death:
        recorder.record_death()
        if recorder.stop_at_first_failure:
            return _report(recorder, candidate, None)
    namespace = trusted_namespace()
    stub = EntryPoint(candidate.call, lambda: candidate.entry(), entry_point)
    stop: StopChecks | None = None
    try:
        try:
            exec(prepared.setup, namespace)
            namespace[entry_point] = stub
            namespace[RECORDER] = recorder
            exec(prepared.checks.code, namespace)
            _check_function(namespace, entry_point)(stub)
            recorder.finish()
        except StopChecks:
            raise
        except BaseException as error:
            if recorder.blames_checks(error):
                return broken_checks(error)
            recorder.stopped(error, _line_in_checks(error))
    except StopChecks as error:
        stop = error
    return _report(recorder, candidate, None if recorder.ended else stop)


def _report(recorder: Recorder, candidate: RemoteCandidate, stop: StopChecks | None) -> Report:
    if stop and stop.outcome == "infrastructure" and not candidate.death:
        return Report("infrastructure", (Failure("", error=ErrorFact("BrokenChecksError", scrub(str(stop)))),))
    # If a failed check ended the run, that check decides, although the candidate may have died while the checks unwound.
    death = None if recorder.ended and recorder.death_record < 0 else candidate.death
    if death:
        recorder.record_death()
        outcome: Outcome = death.outcome
    elif stop and stop.outcome:
        outcome = stop.outcome
    else:
        outcome = recorder.first_fault or "passed"
    # Report.from_tuple refuses a report in which more checks passed than were counted.
    n_checks = max(recorder.n_checks, recorder.n_passed)
    silence = death.silence if death else ""
    return Report(outcome, recorder.failures, recorder.n_passed, n_checks, silence, recorder.death_record)


def _check_function(namespace: dict[str, Any], entry_point: str) -> Callable[[Any], object]:
    check = namespace.get(check_name(entry_point))
    if not callable(check):
        raise NameError("the checks define no function check(candidate)")
    function: Callable[[Any], object] = check
    return function


def _line_in_checks(error: BaseException) -> int:
    """Return the line of ``check`` in which the error was raised."""
    tb, line = error.__traceback__, 0
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_filename == "<checks>" and (code.co_name in _CHECK_NAMES or not line):
            line = tb.tb_lineno
        tb = tb.tb_next
    return line
