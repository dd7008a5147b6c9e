"""Merge the verdicts of several runs that test the same program, each on a case of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mlx_selfdebug.values.verdict import SUSPICIOUS, Outcome, Verdict

MAX_FAILURES = 8
_FAULTS: frozenset[Outcome] = frozenset({"failed", "raised", "bad_value"})


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict for all cases. Raises ValueError if there are none.

    Counts and times are added. The outcome is the most severe one, or the first of several that are equally severe. If one case
    could not be judged, the whole program is not judged. An outcome that no honest program gets is more severe than any other end
    of the program, and such an end is more severe than a wrong answer, as within one run.
    """
    if not verdicts:
        raise ValueError("there are no verdicts to merge")
    worst = min(verdicts, key=_severity_rank)
    failures = (*worst.failures, *chain.from_iterable(v.failures for v in verdicts if v is not worst))
    if worst.outcome in _FAULTS:
        failures = tuple(chain.from_iterable(verdict.failures for verdict in verdicts))
    return Verdict(
        outcome=worst.outcome,
        failures=worst.failures if worst.outcome == "infrastructure" else failures[:MAX_FAILURES],
        n_passed=sum(verdict.n_passed for verdict in verdicts),
        n_checks=sum(verdict.n_checks for verdict in verdicts),
        wall_s=sum(verdict.wall_s for verdict in verdicts),
        cpu_s=sum(verdict.cpu_s for verdict in verdicts),
        peak_bytes=max(verdict.peak_bytes for verdict in verdicts),
        isolation=worst.isolation,
    )


def _severity_rank(verdict: Verdict) -> int:
    """Return a rank for sorting; the most severe outcome has the lowest one."""
    if verdict.outcome == "infrastructure":
        return 0
    if verdict.outcome in SUSPICIOUS:
        return 1
    if verdict.outcome == "passed":
        return 4
    return 3 if verdict.outcome in _FAULTS else 2
