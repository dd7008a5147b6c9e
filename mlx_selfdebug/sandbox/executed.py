"""Which lines of a program its calls ran, to order what is tried next.

    >>> from mlx_selfdebug.sandbox import TestRunner
    >>> from mlx_selfdebug.tasks import Checks
    >>> source = "def sign(x):\\n    if x < 0:\\n        return -1\\n    return 0\\n"
    >>> checks = Checks.from_asserts(["assert sign(-2) == -1", "assert sign(2) == 1"])
    >>> with TestRunner(workers=1) as runner:
    ...     [(call.lines, call.passed) for call in executed_lines(source, checks, "sign", runner).result().calls]
    [({2: 1, 3: 1}, True), ({2: 1, 4: 1}, False)]

The program itself tells them, so they may be lies, and no verdict is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.sandbox.wire.codec import MAX_TRACED_CALLS, MAX_TRACED_LINES

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mlx_selfdebug.sandbox.runner import TestRunner
    from mlx_selfdebug.values.checks import Checks

MAX_CALLS = MAX_TRACED_CALLS
MAX_LINES = 1000
"""How many different lines of a call are kept."""
MAX_COUNT = MAX_TRACED_LINES


@dataclass(frozen=True)
class ExecutedCall:
    """Say how often a call ran each line of the source, by the line's number from 1, in the order they were first run.

    ``passed``: every check that is about the call passed. ``stopped``: it did not end by itself; it ran 100,000 lines, or
    the program died in it.
    """

    lines: Mapping[int, int]
    passed: bool
    stopped: bool = False


@dataclass(frozen=True)
class Executed:
    """Hold the calls that ran lines of the source, in the order they began, and the lines that loading it ran."""

    calls: tuple[ExecutedCall, ...] = ()
    loading: Mapping[int, int] = field(default_factory=dict)

    def to_tuple(self) -> tuple[Any, ...]:
        """Give plain data that the codec carries."""
        return dict(self.loading), tuple((dict(call.lines), call.passed, call.stopped) for call in self.calls)

    @classmethod
    def from_tuple(cls, data: Any) -> Executed:
        """Read what ``to_tuple`` gave. Raises ValueError or TypeError unless every part has its type and is within its bounds."""
        loading, calls = data
        if type(calls) is not tuple or len(calls) > MAX_CALLS:
            raise ValueError("calls")
        return cls(tuple(map(_call, calls)), _counts(loading))


def executed_lines(
    source: str,
    checks: Checks,
    entry_point: str,
    runner: TestRunner,
    *,
    prelude: str = "",
    wall_s: float | None = None,
) -> Future[Executed]:
    """Run ``source`` once against the checks, confined as in any run, and say which of its lines each call ran.

    The program counts its own lines, so a hostile one can lie about them, without limit: use the result to order what is
    tried next, never to decide whether a program is right. It gives no verdict, and none is made with it.

    The first 64 calls are counted. What the checks do with an object of the program's (a method, the next element) is a call
    like one of the entry point, and a program that reads and prints makes one call a case; a call that runs no line of the
    source is left out. Only the thread that is called is counted, and nothing of ``prelude``. A call ends with an exception
    after 100,000 lines, so one that loops for ever shows its loop and the checks go on; a call that hangs within one line, or
    dies, shows the lines until then, with counts that may be too low. Empty if the run could not be made.
    Raises what ``TestRunner.submit`` raises.
    """
    return runner.submit_traced(source, checks, entry_point, prelude=prelude, wall_s=wall_s)


def _call(data: Any) -> ExecutedCall:
    lines, passed, stopped = data
    if type(passed) is not bool or type(stopped) is not bool:
        raise ValueError("a call")
    return ExecutedCall(_counts(lines), passed, stopped)


def _counts(data: Any) -> dict[int, int]:
    if type(data) is not dict or len(data) > MAX_LINES:
        raise ValueError("counts of lines")
    if any(type(line) is not int or type(count) is not int or line < 1 or count < 1 for line, count in data.items()):
        raise ValueError("a count of lines")
    return data
