"""Hold which lines of a program each of its calls ran, so that a search can order what it tries next.

    >>> from mlx_selfdebug.sandbox import TestRunner
    >>> from mlx_selfdebug.tasks import Checks
    >>> source = "def sign(x):\\n    if x < 0:\\n        return -1\\n    return 0\\n"
    >>> checks = Checks.from_asserts(["assert sign(-2) == -1", "assert sign(2) == 1"])
    >>> with TestRunner(workers=1) as runner:
    ...     [(call.lines, call.passed) for call in runner.submit_traced(source, checks, "sign").result().calls]
    [({2: 1, 3: 1}, True), ({2: 1, 4: 1}, False)]

The program itself reports the lines, so the report may be false, and no verdict is based on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx_selfdebug.sandbox.wire.codec import MAX_TRACED_CALLS, MAX_TRACED_LINES

MAX_CALLS = MAX_TRACED_CALLS
"""The maximum number of calls that are kept per run."""
MAX_LINES = 1000
"""The maximum number of different lines that are kept per call."""
MAX_COUNT = MAX_TRACED_LINES
"""The maximum count of a line. A call is stopped once its lines have run this often in total."""


@dataclass(frozen=True)
class ExecutedCall:
    """The lines of the source that one call of the program ran."""

    lines: Mapping[int, int]
    """How often the call ran each line, keyed by line number (from 1), in the order in which the lines were first run."""
    passed: bool
    """Whether every check about this call passed. It is false if the checks ended before any of them was about this call."""
    stopped: bool = False
    """Whether the call did not end by itself, because it ran 100,000 lines or the program died in it."""


@dataclass(frozen=True)
class Executed:
    """The lines of the source that one traced run executed, call by call."""

    calls: tuple[ExecutedCall, ...] = ()
    """The calls that ran lines of the source, in the order in which they began."""
    loading: Mapping[int, int] = field(default_factory=dict)
    """How often each line ran while the source was loaded, keyed by line number (from 1)."""

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the same content as plain data that the codec can encode."""
        return dict(self.loading), tuple((dict(call.lines), call.passed, call.stopped) for call in self.calls)

    @classmethod
    def from_tuple(cls, data: Any) -> Executed:
        """Return the executed lines that ``to_tuple`` turned into plain data.

        Raises ValueError or TypeError unless every part has its type and is within its bounds.
        """
        loading, calls = data
        if type(calls) is not tuple or len(calls) > MAX_CALLS:
            raise ValueError(f"the calls must be a tuple of at most {MAX_CALLS}")
        return cls(tuple(map(_read_call, calls)), _read_counts(loading))


def failing_shares(executed: Executed) -> Mapping[int, float] | None:
    """Return, by line, the share of the failing calls that ran the line, or None if no failing call is known.

    If every failing call ran every line, all shares are 1 and say nothing. So use them only to refine another order.
    """
    failing = [call for call in executed.calls if not call.passed]
    if not failing:
        return None
    counts = Counter(line for call in failing for line in call.lines)
    return {line: count / len(failing) for line, count in counts.items()}


def _read_call(data: Any) -> ExecutedCall:
    lines, passed, stopped = data
    if type(passed) is not bool or type(stopped) is not bool:
        raise ValueError("passed and stopped must be bools")
    return ExecutedCall(_read_counts(lines), passed, stopped)


def _read_counts(data: Any) -> dict[int, int]:
    if type(data) is not dict or len(data) > MAX_LINES:
        raise ValueError(f"the counts must be a dict of at most {MAX_LINES} lines")
    if any(type(line) is not int or type(count) is not int or line < 1 or count < 1 for line, count in data.items()):
        raise ValueError("line numbers and counts must be positive integers")
    return data
