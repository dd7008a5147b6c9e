"""Define ``Verdict``, the result of a test run: an outcome, and the exact facts of each failed check.

There is no behaviour of the runner here. The code that shows verdicts in a notebook is only imported when it is needed, since the
processes that run tests see no code outside this folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Outcome = Literal[
    "passed",
    "failed",
    "raised",
    "load_error",
    "missing_entry",
    "timeout_wall",
    "timeout_cpu",
    "memory",
    "crashed",
    "early_exit",
    "output_limit",
    "bad_value",
    "policy_denied",
    "protocol_error",
    "infrastructure",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
SUSPICIOUS: frozenset[Outcome] = frozenset({"policy_denied", "early_exit", "protocol_error"})
"""Outcomes of programs that did something no honest answer does. They are kept out of training pairs."""

ExpectedKind = Literal["value", "approx", "predicate", "raises", "text", "table"]


@dataclass(frozen=True)
class ErrorFact:
    """An exception that was raised in the candidate."""

    type: str
    message: str
    line: int = 0
    """The line in the candidate's code, counted from 1, or 0 if it is not known."""
    source: str = ""
    """The text of that line."""


_NO_ERROR = {"error": None, "message": None, "line": None}


@dataclass(frozen=True)
class Failure:
    """One failed check. ``input``, ``expected`` and ``got`` are Python literals as strings, and empty if there is no value."""

    check: str
    """The source of the check."""
    input: str = ""
    expected: str = ""
    expected_kind: ExpectedKind = "value"
    got: str = ""
    error: ErrorFact | None = None
    """The exception that was raised instead of returning a value, if there was one."""

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame."""
        fact = self.error
        error = {"error": fact.type, "message": fact.message, "line": fact.line} if fact else _NO_ERROR
        return {"check": self.check, "input": self.input, "expected": self.expected, "got": self.got, **error}

    def to_frame(self) -> Any:
        """Return a pandas frame of one row. Raises UsageError if pandas is not installed."""
        from mlx_selfdebug.notebook import frame

        return frame([self.to_record()])

    def _repr_html_(self) -> str:
        from mlx_selfdebug.notebook import sheet

        return sheet(self.to_record())


@dataclass(frozen=True)
class Verdict:
    """The result of one test run."""

    outcome: Outcome
    failures: tuple[Failure, ...] = ()
    n_passed: int = 0
    n_checks: int = 0
    wall_s: float = 0.0
    """The time that passed, in seconds."""
    cpu_s: float = 0.0
    """The processor time, in seconds."""
    peak_bytes: int = 0
    """The largest memory of the candidate's process, in bytes."""
    isolation: str = "none"
    """The level of isolation that the candidate ran at."""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table, without the failures."""
        return {name: value for name, value in vars(self).items() if name != "failures"}

    def to_frame(self) -> Any:
        """Return a pandas frame with a row per failure. Raises UsageError if pandas is not installed."""
        from mlx_selfdebug.notebook import Rows

        return Rows(self.failures).to_frame()

    def _repr_html_(self) -> str:
        from mlx_selfdebug.notebook import Rows, sheet

        failures = Rows(self.failures)._repr_html_() if self.failures else ""
        return sheet(self.to_record()) + failures
