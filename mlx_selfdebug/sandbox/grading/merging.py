"""Merge the verdicts of several runs of the same program, each on a case of its own, into one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mlx_selfdebug.values.verdict import SUSPICIOUS, Failure, Outcome, Verdict

MAX_FAILURES = 8
"""The maximum number of failures that are kept, as in a single run (see recorder.py)."""
_FAULTS: frozenset[Outcome] = frozenset({"failed", "raised", "bad_value"})
"""Outcomes that a failed check decides: a wrong value, an exception, or an object where plain data was needed."""


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict for all cases. Raises ValueError if there are none.

    Counts and times are added, and the peak memory is the highest one. The outcome is that of the most severe case, or of the first
    if several are equally severe. From the most severe on, the order is:

    1. The case could not be judged, so the program is not judged.
    2. The outcome is one that no honest program gets.
    3. The program did not load, or did not come to its end.
    4. It gave a wrong answer, or raised an exception in place of one.
    5. It passed.
    """
    if not verdicts:
        raise ValueError("there are no verdicts to merge")
    worst = min(verdicts, key=_severity_rank)
    return Verdict(
        outcome=worst.outcome,
        failures=_merged_failures(verdicts, worst),
        n_passed=sum(verdict.n_passed for verdict in verdicts),
        n_checks=sum(verdict.n_checks for verdict in verdicts),
        wall_s=sum(verdict.wall_s for verdict in verdicts),
        cpu_s=sum(verdict.cpu_s for verdict in verdicts),
        peak_bytes=max(verdict.peak_bytes for verdict in verdicts),
        isolation=worst.isolation,
    )


def _merged_failures(verdicts: Sequence[Verdict], worst: Verdict) -> tuple[Failure, ...]:
    if worst.outcome == "infrastructure":
        return worst.failures
    # Wrong answers stay in the order of the cases. Of any other outcome, the case that decided it comes first.
    ordered = verdicts if worst.outcome in _FAULTS else [worst, *(v for v in verdicts if v is not worst)]
    return tuple(chain.from_iterable(verdict.failures for verdict in ordered))[:MAX_FAILURES]


def _severity_rank(verdict: Verdict) -> int:
    """Return a number to sort by. The most severe outcomes have the lowest one."""
    if verdict.outcome == "infrastructure":
        return 0
    if verdict.outcome in SUSPICIOUS:
        return 1
    if verdict.outcome == "passed":
        return 4
    return 3 if verdict.outcome in _FAULTS else 2
