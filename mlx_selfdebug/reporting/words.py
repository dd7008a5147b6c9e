"""Turn numbers and verdicts into the words of a report. A value that is not known is shown as ``-``, never as 0."""

from __future__ import annotations

import math
from typing import TypedDict

from mlx_selfdebug.evaluation.evidence import HalfEvidence
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.evaluation.primary import Primary
from mlx_selfdebug.evaluation.searching import FINDINGS

UNKNOWN = "-"
HALVES = {OWN: "On the models' own failures", BUGS: "On bugs put into right code"}
"""How a sentence about each half of the evaluation begins."""


class RewardEnding(TypedDict, total=False):
    """How a training by rewards ended, as a run stores it."""

    steps: int
    """The number of steps that were made."""
    reason: str
    """Why no further step was made."""
    kept: int
    """The number of steps after which the adapter was kept."""


def verdict_text(primary: Primary) -> str:
    """Return the primary contrast's verdict as one sentence without numbers, for a headline."""
    if primary.verdict == "not shown":
        return f"No evidence that {primary.claim}."
    return f"{primary.claim[:1].upper()}{primary.claim[1:]}."


def half_text(name: str, half: HalfEvidence) -> str:
    """Return the findings of one half of the evaluation as one sentence without numbers.

    The sentence says first what training did and then what searching did. It is "" if neither was tested.
    """
    findings = [half.primary.finding] if half.primary else []
    for verdict, finding in FINDINGS.items():
        models = [contrast.model for contrast in half.searching if contrast.verdict == verdict]
        findings += [f"{finding} for {' and '.join(models)}"] if models else []
    return f"{HALVES[name]}, {'; '.join(findings)}." if findings else ""


def ending_text(ending: RewardEnding) -> str:
    """Return two sentences that say how a training by rewards ended, and after how many steps the adapter was kept."""
    return (
        f"The training by rewards ended after {ending['steps']} steps: {ending['reason']}. "
        f"Kept is the adapter after {ending['kept']} steps."
    )


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share from 0 to 1 as a percentage, such as "56.7 %"."""
    return UNKNOWN if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def points(share: float | None) -> str:
    """Return a difference of two shares in percentage points, with its sign, such as "+3.1"."""
    return UNKNOWN if share is None or math.isnan(share) else f"{100 * share:+.1f}"


def p_value(p: float) -> str:
    """Return a p-value with three digits after the point."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def gigabytes(n_bytes: int | None) -> str:
    """Return a number of bytes in GB of 10^9 bytes, without the unit. None and 0 are both unknown."""
    return f"{n_bytes / 1e9:.2f}" if n_bytes else UNKNOWN


def seconds(value: float | None) -> str:
    """Return a span of time in seconds, minutes or hours, with the unit."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.{digits}g}"
