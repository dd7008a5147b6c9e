"""What a reader must know first: what was shown, what is recommended, how small a difference could have been seen."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.evaluation.evidence import Evidence, HalfEvidence
from mlx_selfdebug.evaluation.result import on_bugs
from mlx_selfdebug.reporting.records import Records
from mlx_selfdebug.reporting.words import half_text, verdict_text


@dataclass(frozen=True)
class Headline:
    """``tone`` is "good", "open" or "bad"; ``lines`` follow the sentence."""

    sentence: str
    tone: str
    lines: tuple[str, ...]


def headline(records: Records) -> Headline:
    """Of a run however far it is."""
    evidence = records.evidence
    if evidence is None:
        return Headline(_unfinished(records), "open", (f"Go on with: mlx-selfdebug run --run {records.path}",))
    if evidence.primary is None:
        sentence = "Not compared: whether repairing beats trying again; that takes the arms blind and facts."
        return Headline(sentence, "open", tuple(_lines(evidence)))
    tone = {"shown": "good", "shown worse": "bad"}.get(evidence.primary.verdict, "open")
    return Headline(verdict_text(evidence.primary), tone, tuple(_lines(evidence)))


def _unfinished(records: Records) -> str:
    done = {stage.name for stage in records.stages if stage.done}
    if "train" in done:
        return "Trained, not evaluated yet."
    return "Collected, not trained yet." if "collect" in done else "Begun, nothing is finished yet."


def _lines(evidence: Evidence) -> list[str]:
    """A sentence for each half, then the numbers behind them."""
    lines = [text for name, half in evidence.halves.items() if (text := half_text(name, half))]
    for half in evidence.halves.values():
        numbers = _numbers(half)
        lines += map(on_bugs, numbers) if half is evidence.bugs else numbers
    if evidence.gate:
        lines.append(str(evidence.gate))
    bugs = f" and {len(evidence.bugs.tasks)} bugs" if evidence.bugs else ""
    lines.append(f"{len(evidence.tasks)} problems{bugs}, at most {evidence.tokens} generated tokens a problem and arm.")
    return lines


def _numbers(half: HalfEvidence) -> list[str]:
    said = [str(one) for one in (*([half.primary] if half.primary else []), *half.searching)]
    return [*said, _visible(half)] if half.primary else said


def _visible(half: HalfEvidence) -> str:
    if half.smallest_gain is None:
        return f"{len(half.tasks)} problems are too few to show any difference in four of five tries."
    return (
        f"This set of problems shows differences of {100 * half.smallest_gain:.0f} points or more, in four of five tries; "
        "smaller ones it cannot tell from none."
    )
