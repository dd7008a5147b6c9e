"""Numbers and verdicts as a reader sees them. What is not known is ``-``, never 0."""

from __future__ import annotations

import math

from mlx_selfdebug.evaluation.evidence import HalfEvidence
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.evaluation.primary import Primary

UNKNOWN = "-"
VERDICTS = {
    "shown": "Shown: after training, repairing with facts beats trying again.",
    "not shown": "Not shown: that repairing with facts, after training, beats trying again.",
    "shown worse": "Shown worse: after training, repairing with facts falls behind trying again.",
}
TRAINED = {
    "shown": "shown that repairing with facts, after training, beats trying again",
    "not shown": "not shown that repairing with facts, after training, beats trying again",
    "shown worse": "shown that repairing with facts, after training, falls behind trying again",
}
SEARCHED = {
    "shown": "shown that searching the failed code first beats trying again at once",
    "not shown": "not shown that searching the failed code first beats trying again at once",
    "shown worse": "shown that searching the failed code first falls behind trying again at once",
}
HALVES = {OWN: "On the models' own failures", BUGS: "On bugs put into right code"}


def verdict_text(primary: Primary) -> str:
    """The primary contrast in one sentence without numbers."""
    return VERDICTS[primary.verdict]


def half_text(name: str, half: HalfEvidence) -> str:
    """What one half has shown in one sentence without numbers, of training and then of searching; "" where nothing was asked."""
    said = [f"it is {TRAINED[half.primary.verdict]}"] if half.primary else []
    for verdict, text in SEARCHED.items():
        models = [one.model for one in half.searching if one.verdict == verdict]
        said += [f"for {' and '.join(models)} it is {text}"] if models else []
    return f"{HALVES[name]} {'; '.join(said)}." if said else ""


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
