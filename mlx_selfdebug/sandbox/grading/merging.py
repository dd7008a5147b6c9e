"""One verdict of several runs that test the same program, each on a case of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mlx_selfdebug.values.verdict import SUSPICIOUS, Outcome, Verdict

MAX_FAILURES = 8
_FAULTS: frozenset[Outcome] = frozenset({"failed", "raised", "bad_value"})


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """Counts and times are added; the outcome is the gravest, the first of those alike. ValueError if there are none.

    One case that could not be judged leaves the whole unjudged. What no honest program does comes before ends of other kinds,
    and those before a wrong answer, as within one run.
    """
    if not verdicts:
        raise ValueError("no verdicts to merge")
    gravest = min(verdicts, key=_gravity)
    failures = (*gravest.failures, *chain.from_iterable(v.failures for v in verdicts if v is not gravest))
    if gravest.outcome in _FAULTS:
        failures = tuple(chain.from_iterable(verdict.failures for verdict in verdicts))
    return Verdict(
        outcome=gravest.outcome,
        failures=gravest.failures if gravest.outcome == "infrastructure" else failures[:MAX_FAILURES],
        n_passed=sum(verdict.n_passed for verdict in verdicts),
        n_checks=sum(verdict.n_checks for verdict in verdicts),
        wall_s=sum(verdict.wall_s for verdict in verdicts),
        cpu_s=sum(verdict.cpu_s for verdict in verdicts),
        peak_bytes=max(verdict.peak_bytes for verdict in verdicts),
        isolation=gravest.isolation,
    )


def _gravity(verdict: Verdict) -> int:
    if verdict.outcome == "infrastructure":
        return 0
    if verdict.outcome in SUSPICIOUS:
        return 1
    if verdict.outcome == "passed":
        return 4
    return 3 if verdict.outcome in _FAULTS else 2
