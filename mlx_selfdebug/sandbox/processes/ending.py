"""How a candidate's process ended, and what that says of a candidate that answers no more."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass, replace

from mlx_selfdebug.sandbox.grading.report import Report
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.values.verdict import ErrorFact, Outcome

_MEMORY_SHARE = 0.8
_CPU_SHARE = 0.95


@dataclass(frozen=True)
class Ending:
    """``status`` as of ``os.wait4``; ``killed``: it was alive when the runner ended it; ``peak_bytes`` 0 if not measured."""

    status: int
    cpu_s: float
    peak_bytes: int
    killed: bool = False

    @property
    def signal(self) -> int:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0


def settle(report: Report, ending: Ending, limits: Limits) -> Report:
    """The report with the outcome and error of a death that the checks' side could not tell the cause of."""
    if not report.silence:
        return report
    outcome, error = _of_time(ending, limits) if report.silence == "time" else _of_exit(ending, limits)
    failures = list(report.failures)
    if report.death_record >= 0:
        failures[report.death_record] = replace(failures[report.death_record], error=error)
    return replace(report, outcome=outcome, failures=tuple(failures), silence="")


def _of_time(ending: Ending, limits: Limits) -> tuple[Outcome, ErrorFact | None]:
    spent = ending.signal == signal.SIGXCPU or ending.cpu_s >= limits.cpu_s
    return ("timeout_cpu" if spent else "timeout_wall"), None


def _of_exit(ending: Ending, limits: Limits) -> tuple[Outcome, ErrorFact | None]:
    if ending.killed and ending.signal == signal.SIGKILL:
        return "early_exit", ErrorFact("SystemExit", "closed its channel")
    if not ending.signal:
        return "early_exit", ErrorFact("SystemExit", f"exit code {os.waitstatus_to_exitcode(ending.status)}")
    if ending.signal == signal.SIGSYS:
        return "policy_denied", ErrorFact("PermissionError", "a system call that the sandbox forbids")
    # The kernel counts whole seconds and kills on the limit's tick.
    if ending.signal == signal.SIGXCPU or ending.cpu_s >= math.ceil(limits.cpu_s) * _CPU_SHARE:
        return "timeout_cpu", None
    if ending.signal == signal.SIGKILL and ending.peak_bytes >= limits.memory_bytes * _MEMORY_SHARE:
        return "memory", None
    return "crashed", ErrorFact("Crash", f"the interpreter was ended by {_signal_name(ending.signal)}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
