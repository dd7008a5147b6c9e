"""Describe how a candidate's process ended, and decide from that the outcome of a candidate that stopped answering."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass, replace

from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.values.verdict import ErrorFact, Outcome

_MEMORY_SHARE = 0.8
"""The share of its memory limit that the peak of a killed process must reach for the process to count as out of memory."""
_CPU_SHARE = 0.95
"""The share of its processor time after which a process that was ended counts as out of time.

The kernel ends a process at the tick that reaches the limit, and may then report a time slightly below it.
"""


@dataclass(frozen=True)
class Ending:
    """The end of a candidate's process."""

    status: int
    """The status as ``os.wait4`` returns it."""
    cpu_s: float
    """The processor seconds that the process used."""
    peak_bytes: int
    """The highest memory use in bytes, or 0 if it was not measured."""
    killed: bool = False
    """Whether the process was still alive when the sandbox ended it."""

    @property
    def signal(self) -> int:
        """The number of the signal that ended the process, or 0 if it exited."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0


def settle(report: Report, ending: Ending, limits: Limits) -> Report:
    """Return the report with the right outcome and error for a candidate that stopped answering.

    The grader cannot tell why a candidate stopped answering, but the way in which its process ended can. Any other report is
    returned as it is.
    """
    if not report.silence:
        return report
    outcome, error = _settle_timeout(ending, limits) if report.silence == "time" else _settle_exit(ending, limits)
    failures = list(report.failures)
    if report.death_record >= 0:
        failures[report.death_record] = replace(failures[report.death_record], error=error)
    return replace(report, outcome=outcome, failures=tuple(failures), silence="")


def _settle_timeout(ending: Ending, limits: Limits) -> tuple[Outcome, ErrorFact | None]:
    out_of_cpu = ending.signal == signal.SIGXCPU or ending.cpu_s >= limits.cpu_s
    return ("timeout_cpu" if out_of_cpu else "timeout_wall"), None


def _settle_exit(ending: Ending, limits: Limits) -> tuple[Outcome, ErrorFact | None]:
    if ending.killed and ending.signal == signal.SIGKILL:
        return "early_exit", ErrorFact("SystemExit", "closed its channel")
    if not ending.signal:
        return "early_exit", ErrorFact("SystemExit", f"exit code {os.waitstatus_to_exitcode(ending.status)}")
    if ending.signal == signal.SIGSYS:
        return "policy_denied", ErrorFact("PermissionError", "a system call that the sandbox forbids")
    # The kernel's limit is in whole seconds.
    if ending.signal == signal.SIGXCPU or ending.cpu_s >= math.ceil(limits.cpu_s) * _CPU_SHARE:
        return "timeout_cpu", None
    if ending.signal == signal.SIGKILL and ending.peak_bytes >= limits.memory_bytes * _MEMORY_SHARE:
        return "memory", None
    return "crashed", ErrorFact("Crash", f"the interpreter was ended by {_signal_name(ending.signal)}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
