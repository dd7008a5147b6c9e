"""What a test run says: an outcome, and for each failed check the exact facts. Values only, no behaviour of the runner.

How they look in a notebook is imported when it is asked for: the processes that run tests see no code but this folder's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
"""Outcomes of a program that did something no honest answer does; kept out of training pairs."""

ExpectedKind = Literal["value", "approx", "predicate", "raises", "text", "table"]


@dataclass(frozen=True)
class ErrorFact:
    """An exception in the candidate: ``line`` is 1-based in the candidate's code, 0 if unknown; ``source`` is that line."""

    type: str
    message: str
    line: int = 0
    source: str = ""


_NO_ERROR = {"error": None, "message": None, "line": None}


@dataclass(frozen=True)
class Failure:
    """One failed check. ``input``, ``expected`` and ``got`` are Python literals as text; empty where there is none."""

    check: str
    input: str = ""
    expected: str = ""
    expected_kind: ExpectedKind = "value"
    got: str = ""
    error: ErrorFact | None = None

    def to_record(self) -> dict[str, Any]:
        """Flat, for a table or a data frame."""
        fact = self.error
        error = {"error": fact.type, "message": fact.message, "line": fact.line} if fact else _NO_ERROR
        return {"check": self.check, "input": self.input, "expected": self.expected, "got": self.got, **error}

    def to_frame(self) -> Any:
        """A pandas frame of one row. Raises UsageError where pandas is missing."""
        from mlx_selfdebug.notebook import frame

        return frame([self.to_record()])

    def _repr_html_(self) -> str:
        from mlx_selfdebug.notebook import sheet

        return sheet(self.to_record())


@dataclass(frozen=True)
class Verdict:
    """The result of one run. Times in seconds, ``peak_bytes`` of the candidate's process, ``isolation`` the level it ran at."""

    outcome: Outcome
    failures: tuple[Failure, ...] = ()
    n_passed: int = 0
    n_checks: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    isolation: str = "none"

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_record(self) -> dict[str, Any]:
        """Flat, for a table; without the failures."""
        return {name: value for name, value in vars(self).items() if name != "failures"}

    def to_frame(self) -> Any:
        """The failures, one row each. Raises UsageError where pandas is missing."""
        from mlx_selfdebug.notebook import Rows

        return Rows(self.failures).to_frame()

    def _repr_html_(self) -> str:
        from mlx_selfdebug.notebook import Rows, sheet

        failures = Rows(self.failures)._repr_html_() if self.failures else ""
        return sheet(self.to_record()) + failures

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        failures = tuple(
            Failure(**{**item, "error": ErrorFact(**item["error"]) if item["error"] else None})
            for item in data["failures"]
        )
        return cls(**{**data, "failures": failures})
