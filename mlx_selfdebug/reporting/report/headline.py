"""Build the headline of a report: what the evaluation found, what is recommended, and how small a difference it could detect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mlx_selfdebug.evaluation.evidence import Evidence, HalfEvidence
from mlx_selfdebug.evaluation.result import NOT_COMPARED, on_bugs
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.words import half_text, verdict_text

Tone = Literal["good", "open", "bad"]
_TONES: Mapping[str, Tone] = {"shown": "good", "shown worse": "bad"}
"""The tone of each verdict on the primary contrast. All other verdicts leave the question open."""


@dataclass(frozen=True)
class Headline:
    """The headline of a report and the lines below it."""

    sentence: str
    tone: Tone
    """What the sentence means for the adapter. The page chooses the colour of the sentence by it."""
    lines: tuple[str, ...]
    """Sentences with the numbers behind the headline."""


def headline(records: Records) -> Headline:
    """Return the headline of a run, which may be at any stage."""
    evidence = records.evidence
    if evidence is None and records.dead_end:
        return Headline(f"This run {records.dead_end.what}.", "bad", (f"To go on, {records.dead_end.instead}",))
    if evidence is None:
        return Headline(_unfinished(records), "open", (f"Continue with: mlx-selfdebug run --run {records.path}",))
    if evidence.primary is None:
        return Headline(NOT_COMPARED, "open", tuple(_lines(evidence)))
    tone = _TONES.get(evidence.primary.verdict, "open")
    return Headline(verdict_text(evidence.primary), tone, tuple(_lines(evidence)))


def _unfinished(records: Records) -> str:
    """Return the sentence for a run that was not evaluated: how far it has come."""
    done = {stage.name for stage in records.stages if stage.done}
    if any(stage.name == "rewards" and not stage.done for stage in records.stages):
        return "The training by rewards is not finished yet."
    if done & {"train", "rewards"}:
        return "The adapter is trained, but not evaluated yet."
    if "collect" in done:
        return "Attempts are collected, but no adapter is trained yet."
    return "No stage is finished yet."


def _lines(evidence: Evidence) -> list[str]:
    """Return a sentence for each half of the evaluation, then the numbers behind these sentences, and the recommendation."""
    lines = [text for name, half in evidence.halves.items() if (text := half_text(name, half))]
    for half in evidence.halves.values():
        numbers = _numbers(half)
        lines += map(on_bugs, numbers) if half is evidence.bugs else numbers
    if evidence.gate:
        lines.append(str(evidence.gate))
    bugs = f" and {len(evidence.bugs.tasks)} bugs" if evidence.bugs else ""
    lines.append(
        f"Evaluated on {len(evidence.tasks)} problems{bugs}, with at most {evidence.tokens} generated tokens per problem and arm."
    )
    return lines


def _numbers(half: HalfEvidence) -> list[str]:
    """Return the findings of one half with their numbers, and the smallest difference that could be detected."""
    searching = [str(finding) for finding in half.searching]
    return [str(half.primary), *searching, _detectable(half)] if half.primary else searching


def _detectable(half: HalfEvidence) -> str:
    n = len(half.tasks)
    if half.smallest_gain is None:
        return f"With {n} problems, no difference of any size would be detected (80 % power)."
    points = 100 * half.smallest_gain
    return f"With {n} problems, only differences of {points:.0f} points or more would be detected (80 % power)."
