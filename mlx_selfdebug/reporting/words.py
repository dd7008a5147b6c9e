"""Numbers and verdicts as a reader sees them. What is not known is ``-``, never 0."""

from __future__ import annotations

import math

from mlx_selfdebug.evaluation.primary import Primary

UNKNOWN = "-"
VERDICTS = {
    "shown": "Shown: after training, repairing with facts beats trying again.",
    "not shown": "Not shown: that repairing with facts, after training, beats trying again.",
    "shown worse": "Shown worse: after training, repairing with facts falls behind trying again.",
}


def verdict_text(primary: Primary) -> str:
    """The primary contrast in one sentence without numbers."""
    return VERDICTS[primary.verdict]


def percent(share: float | None, digits: int = 1) -> str:
    return UNKNOWN if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def points(share: float | None) -> str:
    """A difference of shares, in points of a hundred, signed."""
    return UNKNOWN if share is None or math.isnan(share) else f"{100 * share:+.1f}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def gigabytes(n_bytes: int | None) -> str:
    """GB of 10^9 bytes."""
    return f"{n_bytes / 1e9:.2f}" if n_bytes else UNKNOWN


def seconds(value: float | None) -> str:
    """A span of time."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def number(value: float | None, digits: int = 3) -> str:
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.{digits}g}"
