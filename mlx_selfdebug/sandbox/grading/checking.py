"""Run checks against one candidate, in the grader.

The setup code runs first, then the source of the checks, then ``check(stub)``, where the stub stands in for the candidate. A
recorder records each assert.
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
from mlx_selfdebug.sandbox.grading.remote import RemoteCandidate
from mlx_selfdebug.sandbox.grading.report import Report, broken_checks
from mlx_selfdebug.sandbox.grading.signals import StopChecks
from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Outcome

_WARNINGS_LOCK = threading.Lock()
"""Held while warnings are silenced, since ``warnings.catch_warnings`` changes them for all threads."""
_CHECK_NAMES = {CHECK, check_name(CHECK)}
"""The names that the function ``check`` may have in the rewritten source."""


class BrokenChecksError(Exception):
    """The error of checks that are empty or do not compile."""


@dataclass(frozen=True)
class Prepared:
    """Checks that are ready to run. The same object can serve many candidates and threads."""

    setup: CodeType
    """The code that runs before the checks."""
    checks: Compiled
    """The rewritten checks."""


@lru_cache(maxsize=1024)
def prepare(source: str, setup: str, entry_point: str) -> Prepared:
    """Compile the checks and their setup, and return them. Raises BrokenChecksError if that fails."""
    if not source.strip():
        raise BrokenChecksError("there are no checks: their source is empty")
    try:
        # Python warns of checks that compare literals with ``is`` or contain invalid escapes. That is for their authors to know,
        # not for those who run them.
        with _WARNINGS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Prepared(compile(setup, "<setup>", "exec", dont_inherit=True), compile_checks(source, entry_point))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BrokenChecksError(f"the checks do not compile: {error}") from error


def run_checks(
    prepared: Prepared, candidate: RemoteCandidate, entry_point: str, recorder: Recorder | None = None
) -> Report:
    """Run the checks to their end and return the report.

    They run even if the candidate is dead, so that all of them are counted. To end them at the first failure, pass a ``recorder``
    with ``stop_at_first_failure``.
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
            recorder.record_stop(error, _line_in_checks(error))
    except StopChecks as error:
        stop = error
    return _report(recorder, candidate, None if recorder.ended else stop)


def _report(recorder: Recorder, candidate: RemoteCandidate, stop: StopChecks | None) -> Report:
    """Return the report of a run that is over. ``stop`` is what ended the checks early, if that may decide the outcome."""
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
    """Return the line of ``check`` from which the error came, or else a line of other code of the checks, or 0.

    The innermost line may lie in a helper function, whose line does not tell which asserts of ``check`` come after it.
    """
    traceback, line = error.__traceback__, 0
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == "<checks>" and (code.co_name in _CHECK_NAMES or not line):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
