"""Define the report of one run, which the grader sends to the runner, and verify it when it is read.

The grader runs untrusted code, so every part of a report that arrives is checked for its type and its bounds.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, Literal, get_args

from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.values.verdict import OUTCOMES, ErrorFact, ExpectedKind, Failure, Outcome

Silence = Literal["", "time", "exit"]
"""Why the candidate stopped answering: ``time`` if no answer came in time, ``exit`` if it closed its channel, empty if it did not
stop, or if the reason is known.

The grader cannot tell what lies behind such a silence. How the candidate's process ended does (see processes/ending.py).
"""

MAX_FAILURES = 64
"""The maximum number of failures that a report may hold."""


@dataclass(frozen=True)
class Report:
    """The results of the checks of one run."""

    outcome: Outcome
    """The outcome of the run. With a ``silence``, it is only a first guess."""
    failures: tuple[Failure, ...] = ()
    """The records of failed checks. Where many checks fail, only some have one (see recorder.py)."""
    n_passed: int = 0
    """The number of checks that passed."""
    n_checks: int = 0
    """The number of checks that ran or were counted as failed."""
    silence: Silence = ""
    """Why the candidate stopped answering, as far as the grader can tell."""
    death_record: int = -1
    """The index of the failure in which the candidate died, or -1. With a ``silence``, that failure still lacks its error."""

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the content of the report as plain data that the codec can carry."""
        return astuple(self)

    @classmethod
    def from_tuple(cls, data: Any) -> Report:
        """Return the report from the plain data that ``to_tuple`` returned.

        Raises ValueError or TypeError unless every part has its type and is within its bounds.
        """
        outcome, failures, n_passed, n_checks, silence, death_record = data
        _require(outcome in OUTCOMES and silence in get_args(Silence), "the outcome or silence is unknown")
        _require(
            type(failures) is tuple and len(failures) <= MAX_FAILURES,
            "the failures are not a tuple, or there are too many",
        )
        _require({type(n_passed), type(n_checks), type(death_record)} == {int}, "the counts are not integers")
        _require(0 <= n_passed <= n_checks and -1 <= death_record < len(failures), "the counts are out of range")
        _require(
            outcome != "passed" or (n_passed == n_checks and n_checks > 0 and not failures),
            "a passed run has failures or no checks",
        )
        return cls(outcome, tuple(map(_failure, failures)), n_passed, n_checks, silence, death_record)


def broken_checks(error: BaseException) -> Report:
    """Return the report of checks that are broken by ``error``. Its outcome ``infrastructure`` is never the candidate's fault."""
    return Report("infrastructure", (Failure("", error=ErrorFact(type(error).__name__, scrub(str(error)))),))


def _failure(data: Any) -> Failure:
    """Return the failure from its part of a report. Raises ValueError if that part is not valid."""
    *texts, error = data
    _require(
        len(texts) + 1 == len(fields(Failure)) and all(type(text) is str for text in texts),
        "a failure has the wrong parts",
    )
    check, input_, expected, kind, got = texts
    _require(kind in get_args(ExpectedKind), "the kind of expectation is unknown")
    return Failure(check, input_, expected, kind, got, None if error is None else _error(error))


def _error(data: Any) -> ErrorFact:
    _require(tuple(map(type, data)) == (str, str, int, str), "an error has the wrong parts")
    return ErrorFact(*data)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
