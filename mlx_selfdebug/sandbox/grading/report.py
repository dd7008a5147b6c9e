"""What the checks found, as it travels from the process that ran them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, Literal, get_args

from mlx_selfdebug.sandbox.grading.text import scrub
from mlx_selfdebug.values.verdict import OUTCOMES, ErrorFact, ExpectedKind, Failure, Outcome

Silence = Literal["", "time", "exit"]
"""Why nothing more came: too late, or the channel was closed. What lies behind it only the ended process can tell."""

MAX_FAILURES = 64


@dataclass(frozen=True)
class Report:
    """With a ``silence`` the outcome is a first guess, and ``failures[death_record]`` lacks its error."""

    outcome: Outcome
    failures: tuple[Failure, ...] = ()
    n_passed: int = 0
    n_checks: int = 0
    silence: Silence = ""
    death_record: int = -1

    def to_tuple(self) -> tuple[Any, ...]:
        """Plain data that the codec carries."""
        return astuple(self)

    @classmethod
    def from_tuple(cls, data: Any) -> Report:
        """Raises ValueError or TypeError unless every part has its type and is within its bounds."""
        outcome, failures, n_passed, n_checks, silence, death_record = data
        _require(outcome in OUTCOMES and silence in get_args(Silence), "unknown outcome")
        _require(type(failures) is tuple and len(failures) <= MAX_FAILURES, "failures")
        _require({type(n_passed), type(n_checks), type(death_record)} == {int}, "counts")
        _require(0 <= n_passed <= n_checks and -1 <= death_record < len(failures), "counts")
        _require(
            outcome != "passed" or (n_passed == n_checks and n_checks > 0 and not failures), "a pass with failures"
        )
        return cls(outcome, tuple(map(_failure, failures)), n_passed, n_checks, silence, death_record)


def broken_checks(error: BaseException) -> Report:
    """``infrastructure``: never the candidate's fault."""
    return Report("infrastructure", (Failure("", error=ErrorFact(type(error).__name__, scrub(str(error)))),))


def _failure(data: Any) -> Failure:
    *texts, error = data
    _require(len(texts) + 1 == len(fields(Failure)) and all(type(text) is str for text in texts), "a failure")
    check, input_, expected, kind, got = texts
    _require(kind in get_args(ExpectedKind), "kind of expectation")
    return Failure(check, input_, expected, kind, got, None if error is None else _error(error))


def _error(data: Any) -> ErrorFact:
    _require(tuple(map(type, data)) == (str, str, int, str), "an error")
    return ErrorFact(*data)


def _require(held: bool, what: str) -> None:
    if not held:
        raise ValueError(what)
