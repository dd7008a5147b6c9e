"""Define ``Verdict``, the result of a test run: an outcome, and the exact facts of each failed check.

The processes that run tests import this module, and they can reach only ``machine/``, ``sandbox/`` and ``values/`` of this package.
The code that shows verdicts in a notebook is therefore imported only where it is used.
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
"""How a test run ended. ``sandbox/README.md`` explains each outcome."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
SUSPICIOUS: frozenset[Outcome] = frozenset({"policy_denied", "early_exit", "protocol_error"})
"""The outcomes of programs that did something no honest answer does. Such programs are kept out of training pairs."""

ExpectedKind = Literal["value", "approx", "predicate", "raises", "text"]
"""What a check expected: a value, a number that is near a value, a condition, an exception, or text."""


@dataclass(frozen=True)
class ErrorFact:
    """An exception that was raised in the candidate."""

    type: str
    """The name of its class, such as "ValueError"."""
    message: str
    line: int = 0
    """The line in the candidate's code, counted from 1, or 0 if it is not known."""
    source: str = ""
    """The text of that line."""


_NO_ERROR = {"error": None, "message": None, "line": None}


@dataclass(frozen=True)
class Failure:
    """One failed check, with its facts as texts. A text is empty if there is nothing to show."""

    check: str
    """The source of the check."""
    input: str = ""
    """The arguments of the tested call as Python writes them, or the standard input of a program."""
    expected: str = ""
    """What the check expected, as ``expected_kind`` says: a Python literal for a value, for example, and plain words otherwise."""
    expected_kind: ExpectedKind = "value"
    got: str = ""
    """The value that came instead, as Python writes it, or the line that a program printed."""
    error: ErrorFact | None = None
    """The exception that was raised instead of a value, or None."""

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame."""
        fact = self.error
        error = {"error": fact.type, "message": fact.message, "line": fact.line} if fact else _NO_ERROR
        return {"check": self.check, "input": self.input, "expected": self.expected, "got": self.got, **error}

    def to_frame(self) -> Any:
        """Return a pandas frame with one row. Raises UsageError if pandas is not installed."""
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
    """The facts of the failed checks. The runner keeps only the first few of many failures."""
    n_passed: int = 0
    """The number of checks that passed."""
    n_checks: int = 0
    """The number of checks in all. If the run stopped at the first failure, only those that were begun."""
    wall_s: float = 0.0
    """The time that passed, in seconds."""
    cpu_s: float = 0.0
    """The processor time, in seconds."""
    peak_bytes: int = 0
    """The peak memory of the candidate's process, in bytes."""
    isolation: str = "none"
    """The level of isolation that the candidate ran at: "full", "weaker" or "none"."""

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return self.outcome == "passed"

    def to_record(self) -> dict[str, Any]:
        """Return a flat record for a table or a data frame, without the failures."""
        return {name: value for name, value in vars(self).items() if name != "failures"}

    def to_frame(self) -> Any:
        """Return a pandas frame with one row per failure. Raises UsageError if pandas is not installed."""
        from mlx_selfdebug.notebook import Rows

        return Rows(self.failures).to_frame()

    def _repr_html_(self) -> str:
        from mlx_selfdebug.notebook import Rows, sheet

        failures = Rows(self.failures)._repr_html_() if self.failures else ""
        return sheet(self.to_record()) + failures
